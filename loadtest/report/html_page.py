"""What self-contained pages have in common: style, scripts, plotly.js and data for them. Knows no page's content."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

PARTS = Path(__file__).with_name("html")


def part(name: str) -> str:
    """The text of a file of html/."""
    return (PARTS / name).read_text(encoding="utf-8")


def plotly() -> str:
    """The script element that holds plotly.js: about 4.8 MB, which loadtest.report.publish can put beside a page."""
    return f"<script>{get_plotlyjs()}</script>"


def data(value: Any) -> str:
    """JSON to stand in a script element: "</" would end that element early, whatever string it stands in."""
    return json.dumps(value).replace("</", "<\\/")


def code(text: str) -> str:
    """HTML in which what stands between backticks is code."""
    parts = enumerate(text.split("`"))
    return "".join(f"<code>{escape(part)}</code>" if i % 2 else escape(part) for i, part in parts)
