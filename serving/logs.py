"""make logs: prints the last lines of every log, without the lines that every start writes.

Knows the files' names and TorchServe's usual lines. The files keep all of them.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from serving.errors import ServingError

LAST = 60  # lines of each log
# Lines that TorchServe 0.12 and its workers write at each start.
_USUAL = re.compile(
    r"^(?:\S+ \[\w+\s*\] W-\d+-\S+-std(?:out|err) MODEL_LOG - )?(?:"
    r"s_name_part0=|Listening on port: |Successfully loaded .*metrics\.yaml|\[PID\]\d+$|Torch worker started\.|"
    r"Python runtime: |\S+: FutureWarning: `torch\.jit\.\w+` is deprecated|  warnings\.warn\($|"
    r"Connection accepted: |model_name: \S+, batchSize: \d+$|"
    r"Warning: TorchServe is using non-default JVM parameters: |WARNING: sun\.reflect\.Reflection\.getCallerClass|"
    r"nvidia-smi not available or failed|Model server started\.$)"
)


def show(folders: Sequence[Path], follow: bool = False) -> int:
    """Prints the logs in these folders; with ``follow``, also new lines as they come. Raises ServingError if there are
    no logs."""
    files = [file for folder in folders for file in sorted(folder.glob("*.log"))]
    if not files:
        raise ServingError(f"There are no logs in {folders[0]}; run: make serve")
    for file in files:
        if lines := telling(file):
            print(f"==> {file} <==", *lines, "", sep="\n")
    print(f"Each start's usual lines are left out; all lines are in {', '.join(map(str, folders))}", flush=True)
    if not follow:
        return 0
    return subprocess.run(["tail", "-n", "0", "-F", *map(str, files)], check=False).returncode


def telling(file: Path) -> list[str]:
    """The last lines of a log, without the lines that every start writes."""
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line for line in lines if line.strip() and not _USUAL.match(line)][-LAST:]
