"""``make mutants``: changes some functions in many small ways, and shows the changes that no test finds.

mutmut makes the changes and runs the tests. ``[tool.mutmut]`` in pyproject.toml names the modules and their tests. This
program prints the counts of each module. It fails for a change that no test finds and that docs/mutation.md does not
list with a reason.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK, PAGE = ROOT / "mutants", ROOT / "docs" / "mutation.md"
PROGRAM = Path(sys.executable).with_name("mutmut")
FOUND = ("killed", "timeout")  # a test that does not end any more has found the change too


def main(names: Sequence[str]) -> int:
    """Exit status 1 for a change that is neither found nor explained. ``names`` are patterns of mutants' names, such as
    "handlers.scores.*"; without any, all are tested."""
    if not PROGRAM.exists():
        print(f"{PROGRAM} does not exist; install it with: {sys.executable} -m pip install mutmut", file=sys.stderr)
        return 2
    shutil.rmtree(WORK, ignore_errors=True)
    status = subprocess.run([PROGRAM, "run", *names], cwd=ROOT, env=_environment()).returncode
    if status:
        return status
    unexplained = [text for meta in sorted(WORK.rglob("*.py.meta")) for text in _judge(meta)]
    print(*unexplained, sep="\n")
    return 1 if unexplained else 0


def _environment() -> dict[str, str]:
    """The environment with one thread for numpy, since the tests' arrays are small and each mutant has its own
    process."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _judge(meta: Path) -> Iterator[str]:
    """Prints the counts of one module; yields a paragraph for each change that is neither found nor explained."""
    statuses, explained = _statuses(meta), set(PAGE.read_text().splitlines())
    if not statuses:
        return
    counts = ", ".join(f"{count} {status}" for status, count in sorted(Counter(statuses.values()).items()))
    print(f"{meta.relative_to(WORK).with_suffix('')}: {len(statuses)} mutants: {counts}")
    for name in (name for name, status in statuses.items() if status not in FOUND):
        change = _change(name)
        added = {line for line in change if line.startswith("+")}
        if statuses[name] != "survived" or not added or not added <= explained:
            yield "\n".join([f"\n{name}: {statuses[name]}, not in {PAGE.relative_to(ROOT)}", *change])


def _statuses(meta: Path) -> dict[str, str]:
    """The status of each tested mutant of a module."""
    from mutmut.stats import status_by_exit_code

    codes = json.loads(meta.read_text())["exit_code_by_key"]
    return {name: status_by_exit_code[code] for name, code in codes.items() if code is not None}


def _change(name: str) -> list[str]:
    """The lines that the mutant removes and adds, in the form of the page."""
    shown = subprocess.run([PROGRAM, "show", name], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = [line for line in shown.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    return [f"{line[0]} {line[1:].strip()}" for line in lines]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
