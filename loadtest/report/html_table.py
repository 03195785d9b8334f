"""Tables of pages. A cell may show one value and sort by another.

Knows templates/table.html and cells.html. The page decides which numbers a table has.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup, escape

from loadtest.report import html_page
from loadtest.report.numbers import number


@cache
def _templates() -> jinja2.Environment:
    return html_page.environment()


def table(
    header: Sequence[str],
    lines: Sequence[Sequence[tuple[str, Any]]],
    numeric: Container[int] = (),
    caption: str = "",
    rows: Sequence[Mapping[str, str]] = (),
) -> Markup:
    """A table that sorts on a click. A cell is (HTML, value to sort by). The first cell of a row is its heading.

    ``rows`` are HTML attributes of the rows.
    """
    cells = [[(Markup(html), value) for html, value in line] for line in lines]
    return Markup(
        _templates()
        .get_template("table.html")
        .render(header=header, lines=cells, numeric=numeric, caption=caption, rows=rows or [{}] * len(cells))
    )


def _cell(macro: str, *arguments: Any) -> Markup:
    """The HTML that a macro of cells.html makes."""
    made: Markup = getattr(_templates().get_template("cells.html").module, macro)(*arguments)
    return made


def text(value: Any) -> tuple[Markup, Any]:
    """A cell that shows the value as it is."""
    return escape(str(value)), value


def number_cell(value: float | None, interval: Sequence[float] | None = None) -> tuple[Markup, Any]:
    """A cell of a figure. The pointer shows its interval, in milliseconds."""
    return _cell("figure", number(value), interval), value


def pill(kind: str, words: str) -> tuple[Markup, str]:
    """A cell of a verdict. ``kind`` ("good", "bad" or "doubt") sets its colour."""
    return _cell("pill", kind, words), words


def stamped(name: str, stamp: str) -> tuple[Markup, str]:
    """A cell of a name and a smaller note, or "" for no note."""
    return _cell("stamped", name, stamp), name


def code_cell(shown: str, value: Any) -> tuple[Markup, Any]:
    """A cell that shows code."""
    return _cell("code", shown), value
