"""Writes summary.json, report.md and report.html of a run: a pure function of its rows and its record.

``python -m loadtest.report loadtest/results/<run>`` writes the same bytes again. Knows which files there are; what they
say is in summary.py, report_md.py and report_html.py.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from loadtest import record
from loadtest.chart_data import chart_data
from loadtest.compare import comparisons
from loadtest.errors import LoadTestError
from loadtest.headline import sentences
from loadtest.record import Run
from loadtest.report_html import html
from loadtest.report_md import markdown
from loadtest.summary import summarise


def write(folder: Path) -> dict[str, Any]:
    """Writes the three files into ``folder`` and returns the summary. Raises LoadTestError."""
    run = record.load(folder)
    summary = complete(run)
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(markdown(summary), encoding="utf-8")
    (folder / "report.html").write_text(html(chart_data(run), summary), encoding="utf-8")
    return summary


def complete(run: Run) -> dict[str, Any]:
    """The summary with its comparisons and what was found. Raises LoadTestError."""
    summary = summarise(run)
    if not summary["rows"] and not summary["peaks"]:
        raise LoadTestError(f"{run.folder.name} holds no measured load point; measure again.")
    compared = comparisons(run, summary["rows"], run.profile["margin"])
    return {**summary, "comparisons": compared, "found": sentences(summary["rows"])}


def main(arguments: list[str]) -> int:
    """Writes the report of the run named; 2 when there is none."""
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
