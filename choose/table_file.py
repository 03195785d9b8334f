"""The file of the exhaustive table. Reads the outcomes that belong to the same question, and writes new ones.

Knows JSON and the table. exhaustive.py measures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from choose import decision
from choose.errors import ChooseError
from choose.outcome import Outcome
from choose.request import Request
from choose.space import Configuration, Space
from choose.study import outcome_of
from choose.table import Table


def read(path: Path, asked: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """{configuration's key: outcomes} of an earlier run of the same question; {} without one.

    Raises ChooseError if the file is of another question, since its figures and the new ones would be mixed.
    """
    if not path.exists() or not path.stat().st_size:
        return {}
    kept = json.loads(path.read_text(encoding="utf-8"))
    if kept.get("question") != asked:
        raise ChooseError(f"{path} holds another measurement (model, space, archives or machine); name another OUT=.")
    return {row["key"]: row["outcomes"] for row in kept["rows"]}


def question(asked: Request, space: Space, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that must be the same for all figures of a table."""
    archives = {each.row.name: each.sha256 for each in space.candidates.values()}
    objective = {**asked.stated(), "budget_s": None, "hourly_cost": None}  # these change no figure
    return {"objective": objective, "window_s": asked.window_s, "space": space.stated(),
            "default": space.default.key, "archives": archives, "machine": decision.machine(facts)}  # fmt: skip


def write(path: Path, asked: Request, space: Space, facts: dict[str, Any], kept: dict[str, Any], **more: Any) -> None:
    """Writes the measurements so far, atomically. ``more`` are further keys of the file."""
    table = Table(asked, space, outcomes(space, kept))
    rows = [{"key": each.key, "configuration": asdict(each), "outcomes": kept[each.key], "score": table.score(each)}
            for each in table.outcomes]  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "environment": facts, "model": space.model, "question": question(asked, space, facts), "space": space.stated(),
        "rounds": min(len(kept[row["key"]]) for row in rows), "rows": rows, **more,
    }  # fmt: skip
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    aside.replace(path)


def outcomes(space: Space, kept: Mapping[str, Any]) -> dict[Configuration, list[Outcome]]:
    """The measured configurations of the space with their outcomes."""
    return {each: [outcome_of(one) for one in kept[each.key]] for each in space.all() if each.key in kept}
