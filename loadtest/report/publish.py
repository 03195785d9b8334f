"""Published results: ``python -m loadtest.report.publish docs/results/loadtest-cpu.json docs/results/*.html``.

Pages get a common plotly.js. A run's own report.html and a decision.html contain plotly.js, 4.8 of their 4.9 MB, so
that they can be sent as they are. This command writes plotly.js once beside the pages, as plotly.min.js, and makes the
pages refer to this file. A page that already does is not changed.

A JSON file is converted to the present form, with the Markdown and the page beside it. This is for runs whose rows are
gone: the JSON file is the summary, and the page has the charts' series. If the rows exist, use
``python -m loadtest.report`` instead, since only rows show a changed rule of counting.
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

USAGE = "Usage: python -m loadtest.report.publish docs/results/loadtest-cpu.json docs/results/*.html"
SHARED = "plotly.min.js"
BEGIN, END = "<script>/**\n* plotly.js", "</script>"
DATA = '<script type="application/json" id="data">'
REFERENCE = f'<script src="{SHARED}">{END}'
# The security policy of a self-contained page allows no script from outside. It now allows this one from its folder.
OWN, BESIDE = "script-src 'unsafe-inline'", "script-src 'unsafe-inline' 'self' file:"


def share(page: Path) -> None:
    """Rewrites the page to refer to plotly.min.js beside it, and writes that file if it is missing.

    Raises LoadTestError if the page is none of ours, or if its plotly.js differs from the file's.
    """
    text = page.read_text(encoding="utf-8")
    if REFERENCE in text:
        return
    before, begin, rest = text.partition(BEGIN)
    inside, _, after = rest.partition(END)
    if not begin or OWN not in before:
        raise LoadTestError(f"{page} holds no plotly.js; name pages that loadtest.report or make choose wrote.")
    _put(page.with_name(SHARED), begin.removeprefix("<script>") + inside, page)
    page.write_text(before.replace(OWN, BESIDE) + REFERENCE + after, encoding="utf-8")


def _put(shared: Path, script: str, page: Path) -> None:
    if shared.is_file() and shared.read_text(encoding="utf-8") != script:
        raise LoadTestError(
            f"{page} was drawn with another plotly.js than {shared}; remove that and write all pages beside it again."
        )
    shared.write_text(script, encoding="utf-8")


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
    """The charts' series of a page. Raises ValueError if there are none."""
    _, found, rest = page.partition(DATA)
    if not found:
        raise ValueError("the page holds no series")
    charts: list[dict[str, Any]] = json.loads(rest.partition(END)[0])
    return charts


def main(paths: list[str]) -> int:
    """Makes the named pages share plotly.js, and rewrites the results of the named JSON files. Returns 2 after an
    error."""
    if not paths:
        print(USAGE, file=sys.stderr)
        return 2
    try:
        for path in map(Path, paths):
            publish = republish if path.suffix == ".json" else share
            publish(path)
    except (LoadTestError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
