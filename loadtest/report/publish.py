"""Pages that are published together share one plotly.js: ``python -m loadtest.report.publish docs/results/*.html``.

A run's own report.html and a decision.html hold plotly.js, 4.8 of their 4.9 MB, and can be sent as they are. This
command puts it once beside the pages that it is given, as plotly.min.js, and lets them refer to it. A page that already
does stays as it is. Knows that one script element; not what else a page holds.
"""

from __future__ import annotations

import sys
from pathlib import Path

from loadtest.errors import LoadTestError

SHARED = "plotly.min.js"
BEGIN, END = "<script>/**\n* plotly.js", "</script>"
REFERENCE = f'<script src="{SHARED}">{END}'
# A page that holds everything lets no script in from outside; this one is let in from its own folder.
OWN, BESIDE = "script-src 'unsafe-inline'", "script-src 'unsafe-inline' 'self' file:"


def share(page: Path) -> None:
    """Rewrites the page to refer to plotly.min.js beside it, which is written if it is not there.

    Raises LoadTestError when the page is none of ours, or its plotly.js is another than the one that is there.
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


def main(pages: list[str]) -> int:
    """Shares plotly.js among the pages named; 2 when one cannot."""
    if not pages:
        print("Usage: python -m loadtest.report.publish docs/results/*.html", file=sys.stderr)
        return 2
    try:
        for page in pages:
            share(Path(page))
    except (LoadTestError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
