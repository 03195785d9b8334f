"""Builds one archive: weights, steps, stage, pack, dry run, parity, record, publish.

Runs in a separate process for each archive (see isolated.py, which gives the reasons).
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from export import archive as archives
from export import own_handler
from export.catalog import Row
from export.checkpoint import Checkpoint
from export.dry_run import Answers, Batch, DryRunError, dry_run
from export.examples import examples
from export.fingerprint import fingerprint
from export.model_config import model_config, write
from export.parity import Parity, compare, with_accuracy, with_neighbours
from export.reference import Reference, shared_reference
from export.response_timeout import response_timeout_s
from export.steps import EAGER_FILES, Draft, apply
from export.tasks import TASKS, Task, inputs_of, outputs_of
from export.weights import Choice, identity, write_checkpoint
from handlers.description import installed
from handlers.settings import Settings
from serving.owned import mark, remove
from serving.store import publish
from serving.versions import FIRST

SCRATCH = re.compile(r"\.build-[\w.-]+-[a-z0-9_]{8}")
PARTIAL = re.compile(r"\.[\w.-]+\.mar(\.sha256)?\.part")


class ParityError(Exception):
    """The variant's outputs differ too much from those of eager fp32, or its answer to its example is wrong."""


@dataclass(frozen=True)
class Built:
    """A published archive."""

    size: int
    parity: Parity


def build(
    row: Row,
    device: str,
    choice: Choice,
    store: Path,
    report: Callable[[str], Any],
    version: str = FIRST,
    references: Path | None = None,
) -> Built:
    """Builds ``row`` for ``device`` into ``store`` as ``version``. On an error the store does not change.

    ``references`` is a folder in which the builds of one run share the library's outputs; None shares nothing.
    Raises CheckpointError, StepError, DryRunError or ParityError.
    """
    with tempfile.TemporaryDirectory(dir=store, prefix=f".build-{row.name}-") as scratch:
        mark(Path(scratch))
        stage, source, built = Path(scratch, "stage"), Path(scratch, "checkpoint"), Path(scratch, f"{row.name}.mar")
        stage.mkdir()
        source.mkdir()
        # The fingerprint is computed first: if a file changes during the build, the archive is out of date.
        record: dict[str, Any] = {"fingerprint": fingerprint(row, device, choice), "version": version}
        weights = identity(row.model, choice)
        checkpoint = write_checkpoint(row.model, choice, source, report)
        report("exporting")
        settings, timeout_s = _export(row, device, checkpoint, stage, report)
        report("computing the reference")
        own_weights = not (choice.random or choice.path)
        reference = shared_reference(references, weights, row.model, checkpoint, own_weights)
        report("packing")
        archives.stage_handlers(stage)
        entry = f"{archives.HANDLERS.name}/tasks/{TASKS[row.model.task].entry}.py"
        if row.model.handler:
            entry, record["handler"] = own_handler.FILE, own_handler.stage(row.model, stage)
        write(model_config(row, device, settings.section(), timeout_s), stage / "model-config.yaml")
        archives.pack(stage, row.name, entry, built, version)
        report("checking parity in the archive")
        parity = measure(row, built, reference, device)
        if not parity.passed:
            raise ParityError("; ".join(parity.failures))
        archives.add_record(built, record | {"parity": parity.record()})
        publish(built, store / f"{row.name}.mar")
        return Built((store / f"{row.name}.mar").stat().st_size, parity)


def _export(
    row: Row, device: str, checkpoint: Checkpoint, stage: Path, report: Callable[[str], Any]
) -> tuple[Settings, int]:
    """Applies the steps and writes the checkpoint into the stage.

    Returns the archive section of model-config.yaml and the response timeout in seconds.
    """
    plain = _settings(row, device, checkpoint)
    eager = _draft(plain, checkpoint)
    timeout_s = response_timeout_s(eager.module, plain, row.model.serving.response_timeout_s)
    draft = apply(row.variant.steps, eager)
    for note in draft.notes:
        report(note)
    if draft.save is None:
        for name in EAGER_FILES:
            _copy(checkpoint.directory / name, stage)
    else:
        draft.save(stage)
    for name in ("tokenizer.json", "labels.json"):
        _copy(checkpoint.directory / name, stage)
    return replace(plain, runtime=draft.runtime, **draft.settings), timeout_s


def _settings(row: Row, device: str, checkpoint: Checkpoint) -> Settings:
    """The settings of the archive's handler, before the steps of a variant change them."""
    model, task = row.model, TASKS[row.model.task]
    return Settings(
        model=model.name,
        variant=row.variant.name,
        task=model.task,
        device=device,
        runtime="eager",
        weights=checkpoint.label,
        random_weights=checkpoint.random,
        inputs=inputs_of(task, checkpoint),
        outputs=outputs_of(task, checkpoint),
        threads=model.serving.threads,
        max_items=model.max_items,
        head=checkpoint.head,
        text=checkpoint.text,
        image=checkpoint.image,
        parameters=dict(task.parameters),
        example=model.example or task.example(checkpoint),
        built_with=installed(),
    )


def _copy(path: Path, stage: Path) -> None:
    if path.exists():
        shutil.copyfile(path, stage / path.name)


def _draft(settings: Settings, checkpoint: Checkpoint) -> Draft:
    if not settings.inputs:
        return Draft(None, (), checkpoint, settings.inputs, settings.outputs)
    import torch

    from handlers.architectures import load_eager

    # The model is traced on the device that it will run on, since constants in a trace keep their device.
    where = torch.device("cuda" if settings.device == "gpu" else "cpu")
    module = load_eager(checkpoint.directory, settings).to(where)
    tensors = tuple(tensor.to(where) for tensor in examples(settings))
    return Draft(module, tensors, checkpoint, settings.inputs, settings.outputs)


def measure(row: Row, archive: Path, reference: Reference, device: str) -> Parity:
    """The parity of a packed archive: each case alone, all cases in a full batch, and the held-out set. Also checks the
    archive's answer to its own example."""
    task, requests, size = TASKS[row.model.task], reference.requests, row.batch(device)
    held_out = reference.held_out
    turns = max(1, size // len(requests))  # fills a batch: a large one may be computed in another way (fp8)
    batches = [Batch([request]) for request in requests] + [Batch(requests * turns)]
    batches += [Batch(held_out[i : i + size], False) for i in range(0, len(held_out), size)]
    asked = [Batch([reference.example], False)]
    answers = _answers(row, archive, batches + asked, size, device)
    shown = shown_example(row, reference)
    expected_answer(task, reference.expect, shown, answers.batches[-1][0], row.model.handler)
    if not reference.outputs[0]:
        return Parity()
    tolerance = row.tolerance(device)
    parity = compare(answers.outputs, reference.outputs * (1 + turns), tolerance, task.classes)
    count = len(requests)
    for outputs in (answers.outputs[:count], answers.outputs[-count:]):  # of each case alone, and of the batch
        if task.neighbours and not parity.failures:
            parity = with_neighbours(parity, _embeddings(outputs), _embeddings(reference.outputs), tolerance)
    if held_out:
        accuracy = _accuracy(answers.batches[len(requests) + 1 : -1], reference.labels)
        parity = with_accuracy(parity, accuracy, reference.accuracy, tolerance)
    return parity


def _embeddings(outputs: Sequence[dict[str, Any]]) -> np.ndarray:
    return np.concatenate([each["embedding"] for each in outputs])


def _answers(row: Row, archive: Path, batches: list[Batch], size: int, device: str) -> Answers:
    """The dry run's answers. Raises DryRunError also if a user's own handler fails on a request."""
    try:
        answers = dry_run(archive, batches, size, device)
    except DryRunError as error:
        if not row.model.handler:
            raise
        raise DryRunError(own_handler.not_loaded(row.model, str(error), error.printed)) from None
    if row.model.handler and answers.failures:
        raise DryRunError(own_handler.failed(row.model, answers.failures[0]))
    return answers


def shown_example(row: Row, reference: Reference) -> str:
    """The example's file name or text, for messages."""
    return row.model.example.get("file") or reference.example.body[:80].decode(errors="replace")


def expected_answer(task: Task, expect: str, shown: str, reply: dict[str, Any], handler: str = "") -> None:
    """Raises ParityError if an archive does not answer its own example, or not as ``expect`` says. ``handler`` is the
    path of a user's own handler, which may give answers in another form."""
    if reply["status"] != 200:
        raise ParityError(f"its own example is answered {reply['status']}: {reply['body'].get('message', '')}")
    if not expect or not task.headline:
        return
    try:
        found = task.headline(reply["body"])
    except (KeyError, IndexError, TypeError):
        what = "EXPECT is compared with the answer to one item; make EXAMPLE one item without options"
        if handler:
            what = f"EXPECT needs the task's own form of answers, which {handler} changes; leave EXPECT out"
        raise ParityError(what) from None
    if found != expect:
        raise ParityError(f"its example ({shown}) is answered {found!r}, expected {expect!r}")


def _accuracy(batches: list[list[dict[str, Any]]], labels: list[str]) -> float:
    guesses = [reply["body"]["predictions"][0]["label"] for batch in batches for reply in batch]
    return sum(bool(guess == label) for guess, label in zip(guesses, labels, strict=True)) / len(labels)


def remove_leftovers(store: Path) -> None:
    """Deletes files that interrupted builds left in the store. Running builds hold a lock, see __main__.py.

    MODEL_STORE may name a folder with other files, so only files that a build made are deleted.
    """
    for path in store.glob(".build-*"):
        remove(path.absolute(), SCRATCH)
    for path in store.iterdir():
        if PARTIAL.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)
