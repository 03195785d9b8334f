"""``python -m loadtest.report.republish docs/results/loadtest-cpu.json``: published results in today's form.

For runs whose rows are gone: the summary is the JSON file, the charts' series are those in the page beside it. Writes
the JSON (with what was found), the Markdown and the page, which refers to the plotly.min.js beside it. Where the rows
are there, ``python -m loadtest.report`` makes more of them: a changed rule of counting shows only there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from loadtest.errors import LoadTestError
from loadtest.report.headline import sentences
from loadtest.report.html_report import html
from loadtest.report.markdown_report import markdown
from loadtest.report.publish import share

BEGIN, END = '<script type="application/json" id="data">', "</script>"


def republish(path: Path) -> None:
    """Rewrites ``path`` (a summary.json under its published name), ``.md`` and ``.html``. Raises LoadTestError."""
    page = path.with_suffix(".html")
    try:
        summary, charts = json.loads(path.read_text(encoding="utf-8")), series(page.read_text(encoding="utf-8"))
        summary = {**summary, "found": sentences(summary["rows"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LoadTestError(
            f"{path} and {page.name} are no published results ({error}); name the JSON file of such a pair."
        ) from None
    path.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(markdown(summary), encoding="utf-8")
    page.write_text(html(charts, summary), encoding="utf-8")
    share(page)


def series(page: str) -> list[dict[str, Any]]:
    """The charts' series that a page holds. Raises ValueError when there are none."""
    _, found, rest = page.partition(BEGIN)
    if not found:
        raise ValueError("the page holds no series")
    charts: list[dict[str, Any]] = json.loads(rest.partition(END)[0])
    return charts


def main(paths: list[str]) -> int:
    """Writes the results named again; 2 when some cannot be."""
    if not paths:
        print("Usage: python -m loadtest.report.republish docs/results/loadtest-cpu.json", file=sys.stderr)
        return 2
    try:
        for path in paths:
            republish(Path(path))
    except LoadTestError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
