"""``make faults``: the fault tests in their long form; their figures go to the JSON file $OUT.

The figures are written to another file. It replaces the last run's file when the tests have ended, passed or not.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from loadtest.errors import LoadTestError
from loadtest.measure import result_file

FOLDER = Path(__file__).parent
TESTS = [str(path) for path in (*sorted(FOLDER.glob("test_*_faults.py")), FOLDER / "test_environments.py",
                                FOLDER / "test_fault_run.py")]  # fmt: skip


def main(tests: Sequence[str]) -> int:
    """pytest's exit status over ``tests``; 2 for an invalid variable."""
    try:
        out = result_file.chosen(os.environ, Path("loadtest/results/faults.json"))
        _check_seconds(os.environ.get("FAULT_SECONDS") or "3600")
    except LoadTestError as error:
        print(error, file=sys.stderr)
        return 2
    partial = result_file.partial(out)
    partial.unlink(missing_ok=True)
    asked = {"TRUST": "full", "FIGURES": str(partial.absolute())}
    status = subprocess.run([sys.executable, "-m", "pytest", "-q", *tests], env={**os.environ, **asked}).returncode
    if partial.exists():
        partial.replace(out)
    return status


def _check_seconds(text: str) -> None:
    if not re.fullmatch(r"\d+(\.\d+)?", text):
        raise LoadTestError(f"FAULT_SECONDS={text} is no number of seconds; write it as in FAULT_SECONDS=3600.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or TESTS))
