"""``python -m loadtest.report loadtest/results/<run>``: writes the report of a run again."""

from __future__ import annotations

import sys
from pathlib import Path

from loadtest.errors import LoadTestError
from loadtest.report.writer import write


def main(arguments: list[str]) -> int:
    """Writes the report of the named run. Returns 2 if there is none."""
    if len(arguments) != 1:
        print("Usage: python -m loadtest.report loadtest/results/<run>", file=sys.stderr)
        return 2
    try:
        write(Path(arguments[0]))
    except LoadTestError as error:
        print(error, file=sys.stderr)
        return 2
    print(Path(arguments[0]) / "report.html")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
