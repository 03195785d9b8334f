"""Tables of report.html: cells that show one thing and sort by another.

Knows HTML only; which numbers stand in a table is html_report.py's business.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from html import escape
from typing import Any

from loadtest.report.numbers import number


def table(
    header: Sequence[str],
    lines: Sequence[Sequence[tuple[str, Any]]],
    numeric: Container[int] = (),
    caption: str = "",
    rows: Sequence[str] = (),
) -> str:
    """A table that sorts on a click; a cell is (HTML, value to sort by). The first cell of a line names it.

    ``rows`` are attributes of the lines, as HTML.
    """
    head = "".join(
        f'<th scope="col"{_class(i in numeric)}><button type="button">{escape(name)}</button></th>'
        for i, name in enumerate(header)
    )
    body = "".join(
        f"<tr {attributes}>{''.join(_cell(cell, i, i in numeric) for i, cell in enumerate(line))}</tr>"
        for line, attributes in zip(lines, rows or [""] * len(lines), strict=True)
    )
    said = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(caption or header[0])}">'
        f'<table class="sortable">{said}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _class(is_number: bool) -> str:
    return ' class="number"' if is_number else ""


def _cell(cell: tuple[str, Any], column: int, is_number: bool) -> str:
    text, value = cell
    tag, scope = ("td", "") if column else ("th", ' scope="row"')
    sorted_by = escape(str("" if value is None else value))
    return f'<{tag}{scope}{_class(is_number)} data-value="{sorted_by}">{text}</{tag}>'


def text(value: Any) -> tuple[str, Any]:
    """(HTML, value to sort by) of a cell that shows the value as it is."""
    return escape(str(value)), value


def number_cell(value: float | None, interval: Sequence[float] | None = None) -> tuple[str, Any]:
    """(HTML, value to sort by) of a figure; its interval, in milliseconds, is shown under the pointer."""
    title = f' title="95 % interval {interval[0]:g} to {interval[1]:g} ms"' if interval else ""
    return f"<span{title}>{number(value)}</span>", value
