"""Runs an archive as a worker does, before it is served. The archive is unpacked in an empty folder, in a process that
can import only that folder and the installed packages.

export/parity.py compares the answers with the reference.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from export.tasks import Request
from serving.environment import worker_environment
from serving.worker_log import root_cause

CHILD = Path(__file__).with_name("dry_run_child.py")
TIMEOUT_S = 900


class DryRunError(Exception):
    """The archive does not load or does not answer. The message is the worker's error; ``printed`` is the output of its
    process."""

    def __init__(self, message: str, printed: str = "") -> None:
        super().__init__(message)
        self.printed = printed


@dataclass(frozen=True)
class Batch:
    """Requests of one batch. With ``outputs``, the model's raw outputs are returned as well."""

    requests: Sequence[Request]
    outputs: bool = True


@dataclass(frozen=True)
class Answers:
    """The answers and raw outputs of a dry run.

    ``batches`` has for each batch and request {"status", "body", "headers"}. ``outputs`` has the raw outputs by name,
    for each item of the batches with ``outputs``, in order. ``failures`` has a record of each request with the status
    500: {"kind", "message", "class", "line", "function"}. "line" and "function" are the place of the error in a user's
    own handler, or 0 and "" for an error in other code.
    """

    batches: list[list[dict[str, Any]]]
    outputs: list[dict[str, np.ndarray]]
    failures: list[dict[str, Any]] = field(default_factory=list)


def dry_run(archive: Path, batches: Sequence[Batch], batch_size: int, device: str) -> Answers:
    """Unpacks ``archive``, loads it and answers ``batches``. Raises DryRunError."""
    with tempfile.TemporaryDirectory(prefix="dry-run-") as scratch:
        unpacked, exchange = Path(scratch, "archive"), Path(scratch, "exchange")
        exchange.mkdir()
        with zipfile.ZipFile(archive) as source:
            source.extractall(unpacked)
        plan = {
            "gpu_id": 0 if device == "gpu" else None,
            "batch_size": batch_size,
            "batches": [
                {
                    "requests": [[base64.b64encode(each.body).decode(), each.content_type] for each in batch.requests],
                    "outputs": batch.outputs,
                }
                for batch in batches
            ],
        }
        (exchange / "requests.json").write_text(json.dumps(plan))
        _run_child(unpacked, exchange)
        written = json.loads((exchange / "answers.json").read_text())
        return Answers(written["answers"], _outputs(exchange / "outputs.npz"), written["failures"])


def _outputs(path: Path) -> list[dict[str, np.ndarray]]:
    """The arrays of each item, saved as "<item>/<name>"."""
    found: list[dict[str, np.ndarray]] = []
    with np.load(path) as arrays:
        for key in arrays.files:
            item, _, name = key.partition("/")
            while len(found) <= int(item):
                found.append({})
            found[int(item)][name] = arrays[key]
    return found


def _run_child(unpacked: Path, exchange: Path) -> None:
    command = [sys.executable, str(CHILD), str(unpacked), str(exchange)]
    try:
        done = subprocess.run(
            command, cwd=unpacked, env=worker_environment(), capture_output=True, text=True, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise DryRunError(f"the archive did not answer within {TIMEOUT_S} s") from None
    if done.returncode < 0:
        raise DryRunError(f"the worker was ended by signal {-done.returncode} while loading or answering")
    if done.returncode:
        printed = (done.stdout + done.stderr).strip()
        last = printed.splitlines()[-1] if printed else f"the worker ended with status {done.returncode}"
        raise DryRunError(root_cause(printed) or last, printed)
