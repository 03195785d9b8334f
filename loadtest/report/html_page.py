"""What self-contained pages have in common: templates, style, scripts, plotly.js and data. Knows no page's content.

A page extends templates/page.html, which says what it expects.
"""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

TEMPLATES = Path(__file__).with_name("templates")


def environment(*folders: Path, autoescape: bool = True) -> jinja2.Environment:
    """The templates of ``folders`` and those that pages share; the filter ``code`` is ``code`` below."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, TEMPLATES]), autoescape=autoescape, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    made.filters["code"] = lambda text: Markup(code(text))
    return made


def part(name: str) -> str:
    """The text of a file of templates/."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


def frame(script: str, data_of_charts: Any) -> dict[str, Markup]:
    """What page.html is made of beside its content: style, scripts, and the data that the scripts draw."""
    return {
        "style": Markup(part("report.css")),
        "plotly": Markup(plotly()),
        "script": Markup(part("common.js") + script),
        "data": Markup(data(data_of_charts)),
    }


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
