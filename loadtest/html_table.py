"""Tables of report.html: cells that show one thing and sort by another.

Knows HTML only; which numbers stand in a table is report_html.py's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from loadtest.report_md import number


def table(header: Sequence[str], lines: Sequence[Sequence[tuple[str, Any]]], numeric: range = range(0)) -> str:
    """A table that sorts on a click; a cell is (text, value to sort by)."""
    head = "".join(
        f'<th scope="col"{_class(i in numeric)}><button type="button">{escape(name)}</button></th>'
        for i, name in enumerate(header)
    )
    body = "".join(f"<tr>{''.join(_cell(cell, i in numeric) for i, cell in enumerate(line))}</tr>" for line in lines)
    return (
        f'<div class="scroll"><table class="sortable"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _class(is_number: bool) -> str:
    return ' class="number"' if is_number else ""


def _cell(cell: tuple[str, Any], is_number: bool) -> str:
    text, value = cell
    return f'<td{_class(is_number)} data-value="{escape(str("" if value is None else value))}">{text}</td>'


def text(value: Any) -> tuple[str, Any]:
    return escape(str(value)), value


def number_cell(value: float | None, interval: Sequence[float] | None = None) -> tuple[str, Any]:
    title = f' title="95 % interval {interval[0]:g} to {interval[1]:g} ms"' if interval else ""
    return f"<span{title}>{number(value)}</span>", value
