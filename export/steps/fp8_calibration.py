"""Calibration of fp8: the scales of the inputs of the encoder's matrix products, and the products that stay in fp16. A
module of its own, since it imports torch, which make archive loads in no process but the builds'.

Products stay in fp16 until the network's outputs on the sentences of the calibration are close enough to those in fp32,
those first that alone in fp8 change the outputs most.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from export.steps.draft import StepError
from handlers.lean import LeanEncoder, fp8

# The smallest cosine to the network in fp32. Parity asks for 0.99 (export/catalog.py), and for the same nearest
# neighbours of embeddings, which is more.
GOAL = 0.994
POOLED_GOAL = 0.998
EFFECT_STEP = 4  # Each product's effect is measured on every fourth sentence.
# The largest input seen may be that many times as large later. e4m3 is a floating-point format: its precision is the
# same at half of its range, and a smaller range costs only its smallest numbers.
HEADROOM = 2.0

Batch = dict[str, Tensor]
Name = tuple[int, str]  # of a product: its layer, its name there
Scales = dict[str, float | None]  # fp8.Scales that can be changed
Outputs = tuple[Tensor, ...]


def calibrate(lean: LeanEncoder, batches: Sequence[Batch], goal: float) -> tuple[list[Scales], list[Name], float]:
    """The scales of each layer's products, None for those that stay fp16; the names of these; and the smallest cosine
    of an output of ``lean`` in fp8 to the one in fp32, over ``batches``, which is at least ``goal``.

    Raises StepError where half of the products are not enough.
    """
    with torch.inference_mode():
        largest = _largest_inputs(lean, batches)
        scales: list[Scales] = [
            {product: fp8.scale_of(HEADROOM * largest[index, product]) for product in fp8.PRODUCTS}
            for index in range(len(lean.layers))
        ]
        exact, served = _outputs(lean, batches), _as_served(lean)
        kept, worst = list[Name](), list[Name]()
        while (cosine := min(_cosines(served, batches, scales, exact))) < goal:
            worst = worst or _by_effect(served, batches[::EFFECT_STEP], scales, exact[::EFFECT_STEP])
            if 2 * len(kept) >= len(worst):
                raise StepError(
                    f"with half of the products in fp16, fp8 still has the cosine {cosine:.4f} on the calibration's "
                    f"sentences instead of {goal}; use graph"
                )
            kept.append(worst[len(kept)])
            scales[kept[-1][0]][kept[-1][1]] = None
    return scales, kept, cosine


def _products(lean: LeanEncoder) -> Iterator[tuple[Name, nn.Linear]]:
    for index, layer in enumerate(lean.layers):
        for product in fp8.PRODUCTS:
            yield (index, product), getattr(layer, product)


def _largest_inputs(lean: LeanEncoder, batches: Sequence[Batch]) -> dict[Name, float]:
    """The largest magnitude of each product's input over ``batches``."""
    largest: dict[Name, float] = {}

    def watch(name: Name) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            largest[name] = max(largest.get(name, 0.0), float(inputs[0].abs().max()))

        return hook

    handles = [layer.register_forward_pre_hook(watch(name)) for name, layer in _products(lean)]
    for batch in batches:
        lean(**batch)
    for handle in handles:
        handle.remove()
    return largest


def _by_effect(
    lean: LeanEncoder, batches: Sequence[Batch], scales: Sequence[fp8.Scales], exact: list[Outputs]
) -> list[Name]:
    """The products, first the one that alone in fp8 changes the network's outputs most. A product's own error does not
    tell: in MiniLM, that of attention's projection is the largest, and changes the outputs least."""
    effects: dict[Name, float] = {}
    for name, _ in _products(lean):
        alone: list[Scales] = [dict.fromkeys(fp8.PRODUCTS) for _ in scales]
        alone[name[0]][name[1]] = scales[name[0]][name[1]]
        effects[name] = -sum(_cosines(lean, batches, alone, exact))
    return sorted(effects, key=lambda name: -effects[name])


def _outputs(lean: LeanEncoder, batches: Sequence[Batch]) -> list[Outputs]:
    return [tuple(output.float() for output in lean(**batch)) for batch in batches]


def _as_served(lean: LeanEncoder) -> LeanEncoder:
    """On a GPU, a copy in fp16, which runs with the kernels that will answer; elsewhere ``lean``, which emulates e4m3.

    The tensor cores' sums have fewer bits: MiniLM's smallest cosine was 0.9886 on an H200 and 0.9942 emulated.
    """
    return copy.deepcopy(lean).half() if lean.embeddings.words.weight.is_cuda else lean


def _cosines(lean: LeanEncoder, batches: Sequence[Batch], scales: list[Scales], exact: list[Outputs]) -> list[float]:
    """The smallest cosine of each batch's outputs in fp8 to ``exact``."""
    lean.scales, lean.fp8_rows = list[fp8.Scales](scales), 0
    found = _outputs(lean, batches)
    lean.scales, lean.fp8_rows = [], fp8.MANY_ROWS
    return [
        min(float(cosine_similarity(ours, theirs, dim=-1).min()) for ours, theirs in zip(some, others, strict=True))
        for some, others in zip(found, exact, strict=True)
    ]
