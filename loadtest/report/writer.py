"""Writes summary.json, report.md and report.html of a run: a pure function of its rows and its record.

Writes the same bytes for the same run. Knows the names of the files. summary.py, markdown_report.py and html_report.py
have their content.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from loadtest.errors import LoadTestError
from loadtest.measure import record
from loadtest.measure.record import Run
from loadtest.report.baseline import comparisons
from loadtest.report.chart_data import chart_data
from loadtest.report.headline import sentences
from loadtest.report.html_report import html
from loadtest.report.markdown_report import markdown
from loadtest.report.summary import Grouped, points, summarise


def write(folder: Path) -> dict[str, Any]:
    """Writes the three files into ``folder`` and returns the summary. Raises LoadTestError."""
    run = record.load(folder)
    found = points(run)
    summary = complete(run, found)
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(markdown(summary), encoding="utf-8")
    (folder / "report.html").write_text(html(chart_data(run, found), summary), encoding="utf-8")
    return summary


def complete(run: Run, found: Grouped) -> dict[str, Any]:
    """The summary with its comparisons and findings. Raises LoadTestError."""
    summary = summarise(run, found)
    if not summary["rows"] and not summary["peaks"]:
        raise LoadTestError(f"{run.folder.name} holds no measured load point; measure again.")
    compared = comparisons(run, found, summary["rows"], run.profile["margin"])
    return {**summary, "comparisons": compared, "found": sentences(summary["rows"])}
