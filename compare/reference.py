"""The right answers: those of the library's own eager fp32 model to each payload. ``python -m compare.reference
MODEL``.

Runs in a separate process, so that torch is not loaded during the measurement. Prints JSON, {payload's name: vector}.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from compare.errors import CompareError

ROOT = Path(__file__).resolve().parent.parent


def of(model: str) -> dict[str, list[float]]:
    """The answers for ``model``. Raises CompareError."""
    command = [sys.executable, "-m", "compare.reference", model]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise CompareError(f"The eager reference of {model} was not computed; see its message above.")
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(name: str) -> int:
    """Prints the answers."""
    from export.catalog import model
    from export.tasks import TASKS, Request
    from export.weights import Choice, write_checkpoint
    from loadtest.load.payloads import payloads

    row = model(name)
    with tempfile.TemporaryDirectory(prefix="reference-") as scratch:
        checkpoint = write_checkpoint(row, Choice.of(row, os.environ), Path(scratch), lambda text: None)
        asked = payloads(row)
        found = TASKS[row.task].reference(checkpoint, [Request(each.body) for each in asked])
        print(json.dumps({
            each.name: outputs["embedding"][0].tolist() for each, outputs in zip(asked, found, strict=True)
        }))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
