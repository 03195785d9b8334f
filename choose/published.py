"""Writes the section of docs/choosing.md on the published exhaustive measurement: ``python -m choose.published``. A
test fails if the section is out of date.

Knows the result that choose/exhaustive.py writes. It measures nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.published import renewed

ROOT = Path(__file__).resolve().parent.parent
PAGE, NAME, MODULE = ROOT / "docs" / "choosing.md", "exhaustive", "choose.published"
RESULT = ROOT / "docs" / "results" / "exhaustive-minilm-cpu.json"
TARGET = 0.95  # of the optimum
NONE = "No result is published yet.\n"


def section(path: Path = RESULT) -> str:
    """The section's Markdown. Without a result, a line that says so."""
    if not path.exists():
        return NONE
    result = json.loads(path.read_text(encoding="utf-8"))
    return f"{in_words(result['search'])}\n\n{table(result['search'])}\n\n{_facts(result, path)}\n"


def in_words(found: Mapping[str, Any]) -> str:
    """The result in sentences: the share of the best throughput that the search reaches, over the seeds."""
    search, blind = found["search"], found["random"]
    verdict = "met" if search["median"] >= TARGET else "missed"
    quarter = f"{found['trials']} trials ({found['trials'] / found['configurations']:.0%})"
    return (
        f"Of {found['configurations']} configurations, the best has {found['optimum']:g} {found['unit']}: the optimum. "
        f"After {quarter}, over {found['seeds']} seeds, the search reaches {_shares(search)}. As many random trials "
        f"after the default reach {_shares(blind)}. The target, a median of {TARGET:.0%} of the optimum in a quarter "
        f"of the trials, is {verdict}."
    )


def _shares(found: Mapping[str, Any]) -> str:
    return (
        f"{found['median']:.1%} of the optimum in the median, {found['p5']:.1%} at the 5th percentile of the seeds and "
        f"{found['worst']:.1%} in the worst seed; {found['share_near']:.1%} of the seeds reach at least {TARGET:.0%}"
    )


def table(found: Mapping[str, Any]) -> str:
    """The median share of the optimum by the number of trials."""
    search, blind = found["search"]["curve"], found["random"]["curve"]
    lines = [f"| {number} | {mine:.1%} | {other:.1%} |" for number, (mine, other) in
             enumerate(zip(search, blind, strict=True), start=1)]  # fmt: skip
    return "\n".join(["| trials | search | at random |", "|---:|---:|---:|", *lines])


def _facts(result: Mapping[str, Any], path: Path) -> str:
    facts, space = result["environment"], result["space"]
    axes = "; ".join(f"{name.replace('_', ' ')} {', '.join(map(str, values))}" for name, values in space.items())
    return (
        f"{result['model']} ({axes}), each configuration measured {result['rounds']} "
        f"time{'s' * (result['rounds'] != 1)}: {facts['cpu']}, {facts['cores_available']} cores, {facts['date'][:10]}, "
        f"`{facts['command']}`, [all figures](results/{path.name})."
    )


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8"), NAME, section(), MODULE), encoding="utf-8")
