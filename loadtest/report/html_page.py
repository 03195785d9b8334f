"""The common parts of self-contained pages: templates, style, scripts, plotly.js and data. Knows no page's content.

A page extends templates/page.html, which describes its variables.
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
    """The templates of ``folders`` and those that pages share. The filter ``code`` is the function ``code``."""
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
    """The variables of page.html beside its content: style, scripts, and the data that the scripts draw."""
    return {
        "style": Markup(part("report.css")),
        "plotly": Markup(plotly()),
        "script": Markup(part("common.js") + script),
        "data": Markup(data(data_of_charts)),
    }


def plotly() -> str:
    """The script element with plotly.js, about 4.8 MB. loadtest.report.publish can move it into a file beside the
    page."""
    return f"<script>{get_plotlyjs()}</script>"


def data(value: Any) -> str:
    """JSON for a script element. "</" is escaped, since it would end the element, also within a string."""
    return json.dumps(value).replace("</", "<\\/")


def code(text: str) -> str:
    """HTML in which text between backticks is code."""
    parts = enumerate(text.split("`"))
    return "".join(f"<code>{escape(part)}</code>" if i % 2 else escape(part) for i, part in parts)
