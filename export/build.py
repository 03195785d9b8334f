"""Builds one archive: weights, steps, stage, pack, dry run, parity, record, publish.

Runs in a process of its own (see __main__.py): TorchScript's names depend on what a process scripted before, so
only a fresh one gives the same bytes, and a crash in a compiler takes no other archive with it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export import archive as archives
from export.catalog import Row
from export.dry_run import Answers, Batch, dry_run
from export.fingerprint import fingerprint
from export.model_config import model_config, write
from export.parity import Parity, compare, with_accuracy, with_neighbours
from export.reference import Reference, reference
from export.steps import EAGER_FILES, Draft, apply
from export.weights import Checkpoint, Choice, write_checkpoint
from handlers.description import installed
from serving.store import publish

ENTRIES = {"embedding": "embedding", "fill-mask": "fill_mask", "classification": "classification", "null": "null"}


class ParityError(Exception):
    """The variant does not compute what eager fp32 computes; it is not packed."""


@dataclass(frozen=True)
class Built:
    """A published archive."""

    size: int
    parity: Parity


def build(row: Row, device: str, choice: Choice, store: Path, report: Callable[[str], Any]) -> Built:
    """Builds ``row`` for ``device`` into ``store``; on any error the store is as it was.

    Raises WeightsError, StepError, DryRunError or ParityError.
    """
    with tempfile.TemporaryDirectory(dir=store, prefix=f".build-{row.name}-") as scratch:
        stage, source, built = Path(scratch, "stage"), Path(scratch, "checkpoint"), Path(scratch, f"{row.name}.mar")
        stage.mkdir()
        source.mkdir()
        checkpoint = write_checkpoint(row.model, choice, source, report)
        report("exporting")
        settings = _export(row, device, checkpoint, stage)
        yardstick = reference(row.model, checkpoint)
        report("packing")
        archives.stage_handlers(stage)
        write(model_config(row, device, settings), stage / "model-config.yaml")
        archives.pack(stage, row.name, ENTRIES[row.model.task], built)
        report("checking parity in the archive")
        parity = measure(row, built, yardstick, device)
        if not parity.passed:
            raise ParityError("; ".join(parity.failures))
        record = {"fingerprint": fingerprint(row, device, choice), "parity": parity.record()}
        archives.add_record(built, record)
        publish(built, store / f"{row.name}.mar")
        return Built((store / f"{row.name}.mar").stat().st_size, parity)


def _export(row: Row, device: str, checkpoint: Checkpoint, stage: Path) -> dict[str, Any]:
    """Applies the steps, writes the checkpoint into the stage, returns the archive section of model-config.yaml."""
    draft = apply(row.variant.steps, _draft(row, device, checkpoint))
    if draft.save is None:
        for name in EAGER_FILES:
            _copy(checkpoint.directory / name, stage)
    else:
        draft.save(stage)
    for name in ("tokenizer.json", "labels.json"):
        _copy(checkpoint.directory / name, stage)
    model = row.model
    return {
        "model": model.name,
        "variant": row.variant.name,
        "task": model.task,
        "device": device,
        "runtime": draft.runtime,
        "weights": checkpoint.label,
        "random_weights": checkpoint.random,
        "threads": model.serving.threads,
        "max_items": model.max_items,
        "top_k": model.top_k,
        "example": model.example,
        **{key: value for key, value in checkpoint.settings.items() if key != "input"},
        "input": {**model.input, **checkpoint.settings.get("input", {})},
        "built_with": installed(),
        **draft.settings,
    }


def _copy(path: Path, stage: Path) -> None:
    if path.exists():
        shutil.copyfile(path, stage / path.name)


def _draft(row: Row, device: str, checkpoint: Checkpoint) -> Draft:
    if row.model.task == "null":
        return Draft(None, (), checkpoint)
    import torch

    from handlers.architectures import load_eager

    # Traced on the device it will run on: constants that a trace makes keep the device they were made on.
    where = torch.device("cuda" if device == "gpu" else "cpu")
    module = load_eager(row.model.task, checkpoint.directory, checkpoint.settings).to(where)
    return Draft(module, tuple(tensor.to(where) for tensor in _examples(row, checkpoint)), checkpoint)


def _examples(row: Row, checkpoint: Checkpoint) -> tuple[Any, ...]:
    """One batch of input tensors: more than one item and more than one token, so that no dimension looks fixed."""
    import torch

    generator = torch.Generator().manual_seed(0)
    if row.model.task == "classification":
        side = checkpoint.settings["input"]["side"]
        return (torch.randint(0, 256, (2, side, side, 3), generator=generator, dtype=torch.uint8),)
    ids = torch.randint(0, checkpoint.settings["input"]["vocabulary"], (2, 9), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    return (ids, mask) if row.model.task == "embedding" else (ids, mask, torch.tensor([1, 4]))


def measure(row: Row, archive: Path, yardstick: Reference, device: str) -> Parity:
    """Parity of a packed archive against the reference: each case alone, all in one batch, and the held-out set."""
    if yardstick.outputs is None:
        dry_run(archive, [Batch([b"hello"])], "text/plain", 1, device)
        return Parity()
    bodies, size = yardstick.bodies, row.model.serving.batch_size
    batches = [Batch([body]) for body in bodies] + [Batch(bodies)]
    batches += [Batch(yardstick.held_out[i : i + size], False) for i in range(0, len(yardstick.held_out), size)]
    answers = dry_run(archive, batches, yardstick.content_type, size, device)
    tolerance, classes = row.tolerance(device), row.model.task != "embedding"
    parity = compare(answers.outputs, np.concatenate([yardstick.outputs] * 2), tolerance, classes)
    if not classes:
        parity = with_neighbours(parity, answers.outputs[: len(bodies)], yardstick.outputs, tolerance)
    if yardstick.held_out:
        accuracy = _accuracy(answers, len(bodies) + 1, yardstick.labels)
        parity = with_accuracy(parity, accuracy, yardstick.accuracy, tolerance)
    return parity


def _accuracy(answers: Answers, first: int, labels: list[str]) -> float:
    replies = [reply for batch in answers.batches[first:] for reply in batch]
    guesses = [reply["body"]["predictions"][0]["label"] for reply in replies]
    return sum(guess == label for guess, label in zip(guesses, labels, strict=True)) / len(labels)


def remove_leftovers(store: Path) -> None:
    """Deletes what interrupted builds left in the store; running ones hold a lock, see __main__.py."""
    for path in store.glob(".build-*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in store.glob(".*.part"):
        path.unlink(missing_ok=True)
