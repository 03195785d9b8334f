"""Writes a decision as pages: decision.md and decision.html. A pure function of decision.json.

Knows the page's parts and the templates. words.py has the sentences, tables.py the tables.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from choose import charts, tables, words
from choose.tables import Column, Row
from loadtest.report import html_page, html_table, markdown_report
from loadtest.report.numbers import DASH

TEMPLATES = Path(__file__).with_name("templates")
FINALISTS = (
    "Measured again in turns, each on fresh servers, with 95 % intervals. "
    "Parity was measured when the archive was built."
)
TRIALS = "Every trial of the search, measured once. Workers × threads of each."
DASHES = f"{DASH}: not measured, not known, or too few requests to bound the percentile."


def write(decision: dict[str, Any], folder: Path) -> Path:
    """Writes both files into ``folder`` and returns the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "decision.md").write_text(markdown(decision), encoding="utf-8")
    page = folder / "decision.html"
    page.write_text(html(decision), encoding="utf-8")
    return page


def markdown(decision: dict[str, Any]) -> str:
    """The decision for a pull request or a note."""
    template = _environment(False).get_template("decision.md")
    return template.render(
        **_shared(decision),
        finalists=_markdown_table(tables.finalists(decision), decision["finalists"]),
        trials=_markdown_table(tables.trials(decision), decision["trials"]),
    )


def html(decision: dict[str, Any]) -> str:
    """The page: one file that loads nothing else."""
    template = _environment(True).get_template("decision.html")
    return template.render(
        **_shared(decision),
        style=Markup(html_page.part("report.css") + (TEMPLATES / "decision.css").read_text(encoding="utf-8")),
        plotly=Markup(html_page.plotly()),
        script=Markup(html_page.part("common.js") + (TEMPLATES / "decision.js").read_text(encoding="utf-8")),
        data=Markup(html_page.data(charts.chart_data(decision))),
        aria=charts.said(decision),
        finalists=_html_table(tables.finalists(decision), decision["finalists"], FINALISTS),
        trials=_html_table(tables.trials(decision), decision["trials"], TRIALS),
    )


def _environment(autoescape: bool) -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(TEMPLATES)
    made = jinja2.Environment(
        loader=loader, autoescape=autoescape, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    made.filters["code"] = lambda text: Markup(html_page.code(text))
    return made


def _shared(decision: dict[str, Any]) -> dict[str, Any]:
    """The parts that both templates show."""
    return {
        "decision": decision,
        "sentences": words.sentences(decision).splitlines(),
        "lead": lead(decision),
        "facts": markdown_report.facts({**decision["environment"], "command": decision["command"]}),
        "space": [(name.replace("_", " "), ", ".join(map(str, values))) for name, values in decision["space"].items()],
        "importance": [(name.replace("_", " "), share) for name, share in
                       sorted(decision["importance"].items(), key=lambda pair: -pair[1])],
        "dashes": DASHES,
        "captions": {"finalists": FINALISTS, "trials": TRIALS},
        "undrawn": sum(not (row["requests_per_s"] and row["p99_ms"]) for row in decision["trials"]),
    }  # fmt: skip


def lead(decision: dict[str, Any]) -> str:
    """One line: the model, the machine and the number of trials."""
    trials, machine = decision["trials"], decision["machine"]
    count, seconds = Counter(row["state"] for row in trials), sum(row["seconds"] or 0 for row in trials)
    states = ", ".join(f"{count[state]} {said}" for state, said in tables.STATES.items() if count[state])
    gpus = "".join(f", {name}" for name in machine["gpus"])
    took = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
    return (
        f"{decision['date'][:10]}: {decision['model']} ({decision['task']}) on {machine['cpu']}, "
        f"{machine['cores']} cores{gpus}; {len(trials)} trials ({states or 'none'}) in {took}."
    )


def _html_table(columns: Sequence[Column], rows: Sequence[Row], caption: str) -> Markup:
    kept = tables.shown(columns, rows)
    lines = [[(_lines(column.text(row)), column.value(row)) for column in kept] for row in rows]
    numeric = {i for i, column in enumerate(kept) if column.numeric}
    return Markup(html_table.table([column.title for column in kept], lines, numeric, caption))


def _lines(text: str) -> str:
    """A cell's HTML; lines after the first one are smaller, below it."""
    first, _, rest = text.partition("\n")
    return html_page.code(first) + (f"<small>{html_page.code(rest)}</small>" if rest else "")


def _markdown_table(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    kept = tables.shown(columns, rows)
    lines = [[column.text(row).replace("\n", ", ") for column in kept] for row in rows]
    numeric = {i for i, column in enumerate(kept) if column.numeric}
    return markdown_report.table([column.title for column in kept], lines, numeric)
