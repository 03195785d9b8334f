"""The reference of the parity check: requests, and the outputs of the library's own eager fp32 model for each.

Each task has the requests and calls the library (export/tasks). This code does not use the handlers, so that an error
in the handlers shows as a difference.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from export.catalog import Model
from export.checkpoint import Checkpoint
from export.tasks import TASKS, Request

ROOT = Path(__file__).resolve().parent.parent
HELD_OUT_BATCH = 32  # images per forward pass; only their best classes are compared


@dataclass(frozen=True)
class Reference:
    """Requests with the raw outputs of each, float32 by name, and the request of the model's example.

    ``held_out`` are further requests and ``labels`` their true labels, for a model with a held-out set.
    """

    requests: list[Request]
    outputs: list[dict[str, np.ndarray]]
    example: Request
    expect: str = ""  # the headline of the answer to the example, if it is known
    held_out: list[Request] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    accuracy: float = 0.0  # accuracy of the reference on the held-out set, 0..1


def shared_reference(
    folder: Path | None, identity: str, model: Model, checkpoint: Checkpoint, own_weights: bool
) -> Reference:
    """The reference of ``model``, computed once for all variants that one ``make archive`` builds.

    ``folder`` keeps the result for the other builds of this run; None keeps nothing. ``identity`` changes with the
    weights.
    """
    if folder is None:
        return reference(model, checkpoint, own_weights)
    kept = folder / hashlib.sha256(f"{model!r} {identity}".encode()).hexdigest()
    if not kept.exists():
        partial = kept.with_suffix(f".{os.getpid()}.part")
        partial.write_bytes(pickle.dumps(reference(model, checkpoint, own_weights)))
        partial.replace(kept)
    found: Reference = pickle.loads(kept.read_bytes())
    return found


def reference(model: Model, checkpoint: Checkpoint, own_weights: bool) -> Reference:
    """The reference of ``model``. ``own_weights``: the checkpoint has the weights of the model's row, so the answer to
    the example is known."""
    task = TASKS[model.task]
    requests = task.cases(checkpoint)
    outputs, example = task.reference(checkpoint, requests), request_of(model.example or task.example(checkpoint))
    expect = model.expect if own_weights else ""
    if model.source.kind == "trained":
        return Reference(requests, outputs, example, expect, *_held_out(checkpoint))
    return Reference(requests, outputs, example, expect)


def request_of(example: dict[str, str]) -> Request:
    """The request of an example in the catalog's form: a "text", or a "file" by its path, absolute or in the
    checkout."""
    if "file" in example:
        return Request((ROOT / example["file"]).read_bytes(), example["content_type"])
    return Request(example["text"].encode(), example["content_type"])


def _held_out(checkpoint: Checkpoint) -> tuple[list[Request], list[str], float]:
    from export.digits import split
    from export.tasks.images import library_outputs

    _, _, bodies, labels = split()
    outputs = np.concatenate(library_outputs(checkpoint, bodies, HELD_OUT_BATCH))
    accuracy = float((outputs.argmax(1) == labels).mean())
    return [Request(body, "image/png") for body in bodies], [str(label) for label in labels], accuracy
