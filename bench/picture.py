"""The README's picture: the latency of each variant at batch 1, with a panel for each model and machine.

A pure function of published results of ``make bench``. The SVG is written without a plot library, so that it is small,
has the same bytes each time, and follows the reader's light or dark colours.
"""

from __future__ import annotations

from html import escape
from typing import Any

from bench.headline import NAMES, at_batch_one, machine

WIDTH, PANEL, LINE, BAR, TOP = 860, 420, 21, 15, 34  # pixels: picture's and panel's width; row's, bar's, title's height
LEFT, LONGEST = 92, 210  # pixels: a bar's left end in its panel; the longest bar
STYLE = """
  text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #1f2328 }
  .title { font-weight: 600 }
  .page { fill: #ffffff } .bar { fill: #8c959f } .best { fill: #0969da }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .page { fill: #0d1117 } .bar { fill: #6e7681 } .best { fill: #4493f8 }
  }
"""


def picture(runs: list[dict[str, Any]]) -> str:
    """The SVG, with a row of panels for each result and a panel for each model."""
    parts, height = [], 8
    for run in runs:
        panels = [at_batch_one(run, model) for model in NAMES]
        parts += [_panel(rows, run, PANEL * column + 8, height) for column, rows in enumerate(panels)]
        height += TOP + LINE * max(len(rows) for rows in panels) + 10
    label = "Latency at batch 1 of every variant; the same figures are in the table of all variants"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="{label}">\n<style>{STYLE}</style>\n<rect class="page" width="100%" height="100%"/>\n'
        + "\n".join(parts) + "\n</svg>\n"
    )


def _panel(rows: list[dict[str, Any]], run: dict[str, Any], x: int, y: int) -> str:
    rows = sorted(rows, key=lambda row: row["p50_ms"], reverse=True)
    title = escape(f"{NAMES[rows[0]['model']]} on {machine(run)}: p50, ms")
    bars = [_bar(row, rows[0]["p50_ms"], row is rows[-1], x, y + TOP + LINE * i) for i, row in enumerate(rows)]
    return "\n".join([f'<text class="title" x="{x}" y="{y + 18}">{title}</text>', *bars])


def _bar(row: dict[str, Any], longest: float, best: bool, x: int, y: int) -> str:
    width = max(1.0, LONGEST * row["p50_ms"] / longest)
    digits = 2 if row["p50_ms"] < 10 else 1 if row["p50_ms"] < 100 else 0
    figure = f"{row['p50_ms']:.{digits}f}" + (f" ({row['speedup']:.1f} times as fast)" if best else "")
    return (
        f'<text x="{x + LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(row["variant"])}</text>'
        f'<rect class="{"best" if best else "bar"}" x="{x + LEFT}" y="{y}" width="{width:.1f}" height="{BAR}"/>'
        f'<text x="{x + LEFT + width + 6:.1f}" y="{y + 12}">{figure}</text>'
    )
