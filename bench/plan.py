"""The plan of a bench: archives x batch sizes x lengths, and the inputs of each cell.

Knows the catalog and shapes. Does not import torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from export.catalog import CatalogError
from export.options import Options, read_options
from handlers.settings import Settings, TensorSpec

MODELS = ("minilm", "digits")
BATCHES, LENGTHS = (1, 8, 32), (16, 128, 384)


@dataclass(frozen=True)
class Cell:
    """A shape: ``length`` in tokens, None for images."""

    batch: int
    length: int | None


@dataclass(frozen=True)
class Plan:
    """The archives to build and measure, their shapes, and the time for each."""

    options: Options
    batches: tuple[int, ...]
    lengths: tuple[int, ...]
    seconds: float  # per row and cell, over all rounds


def read_plan(environment: Mapping[str, str]) -> Plan:
    """The options of a build (default: all variants that fit the device), BATCHES, LENGTHS, BENCH_SECONDS.

    Raises CatalogError, DeviceError or CheckpointError."""
    options = read_options(environment, MODELS, variants=None)
    rows = [row for row in options.rows if row.model.kind != "none"]
    if "eager" not in {row.variant.name for row in rows}:
        raise CatalogError("The bench compares with eager of the same run; add eager to VARIANTS.")
    return Plan(
        replace(options, rows=rows),
        _numbers(environment, "BATCHES", BATCHES),
        _numbers(environment, "LENGTHS", LENGTHS),
        _seconds(environment.get("BENCH_SECONDS") or "3"),
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds < math.inf:
        raise CatalogError(f"BENCH_SECONDS is {text!r}; expected a number above 0, as in BENCH_SECONDS=3.")
    return seconds


def _numbers(environment: Mapping[str, str], name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    text = environment.get(name, "").replace(",", " ")
    try:
        numbers = tuple(int(part) for part in text.split()) or default
    except ValueError:
        raise CatalogError(f"{name} is {text!r}; expected whole numbers, as in {name}=1,8,32.") from None
    if min(numbers) < 1:
        raise CatalogError(f"{name} is {text!r}; every number must be at least 1.")
    return numbers


def cells(settings: Settings, plan: Plan) -> list[Cell]:
    """The shapes of a model: all batch sizes with all lengths that the model supports; all batch sizes for images."""
    if settings.text is None:
        return [Cell(batch, None) for batch in plan.batches]
    lengths = [length for length in plan.lengths if length <= settings.text.max_length]
    return [Cell(batch, length) for batch in plan.batches for length in lengths]


def inputs(settings: Settings, cell: Cell) -> tuple[np.ndarray, ...]:
    """Seeded random inputs of the cell's shape, without padding. Zeros are avoided, since kernels can be faster for
    them."""
    generator = np.random.default_rng(0)
    return tuple(_input(spec, settings, cell, generator) for spec in settings.inputs)


def _input(spec: TensorSpec, settings: Settings, cell: Cell, generator: np.random.Generator) -> np.ndarray:
    shape = spec.shape(cell.batch, cell.length or 0)
    if spec.name == "pixels":
        return generator.integers(0, 256, shape, dtype=np.uint8)
    assert cell.length is not None  # only models of texts have the other inputs
    if spec.name == "input_ids":
        vocabulary = settings.text_input.vocabulary
        return generator.integers(min(1000, vocabulary // 2), vocabulary - 1, shape)
    if spec.name == "token_type_ids":
        return np.zeros(shape, dtype=np.int64)
    return np.ones(shape, dtype=np.int64) if len(shape) == 2 else np.full(shape, cell.length // 2)


def operations(model_name: str, cell: Cell) -> float | None:
    """Floating-point operations of one forward pass; None for a model without a formula. A multiply-add counts as two.

    BERT-base: 12 layers of 24 S H^2 (projections, feed-forward) + 4 S^2 H (attention), H = 768. ResNet-50: 8.18 GFLOP
    per image, twice the multiply-adds that torchvision publishes.
    """
    if model_name == "bert" and cell.length is not None:
        width, length = 768, cell.length
        return cell.batch * 12 * (24 * length * width**2 + 4 * length**2 * width)
    return cell.batch * 8.18e9 if model_name == "resnet50" else None
