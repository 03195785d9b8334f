"""decision.json: the question, the measurements and the decision. A pure function of the study and the finals.

Knows the schema, which docs/choosing.md states, and no files but the one it writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from choose.objective import unit
from choose.ranking import ranked, winner
from choose.request import Request
from choose.space import Configuration, Space
from choose.study import Record
from loadtest.measure.record import Peak

SCHEMA = 1
FILE = "decision.json"


def decide(
    request: Request, space: Space, command: str, environment: Mapping[str, Any], records: Sequence[Record],
    finalists: Sequence[dict[str, Any]], peak: Peak | None = None, importance: Mapping[str, float] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The content of decision.json. ``finalists`` are the rows of ranking.figures, at least one."""
    won, stays = winner(request, finalists)
    default = next((row for row in finalists if row["is_default"]), None)
    in_order = ranked(request, finalists)
    others = {row["variant"]: row for row in reversed(in_order) if row["variant"] != won["variant"]}
    return {
        "schema": SCHEMA, "command": command, "date": environment["date"], "model": space.model, "task": space.task,
        "objective": request.stated(), "environment": dict(environment), "machine": machine(environment),
        "space": space.stated(), "archives": {each.row.name: each.rightness for each in space.candidates.values()},
        "left_out": list(space.left_out), "trials": [trial(each) for each in records],
        "finalists": list(finalists), "winner": won, "default": default,
        "alternatives": sorted(others.values(), key=in_order.index),
        "exact": next((row for row in [*in_order, *finalists] if row["exact"]), None),
        "default_stays": stays, "why": why(request, finalists, won, default, len(records)),
        "open_loop": _open_loop(won, peak), "importance": dict(importance or {}), "pareto": pareto(space, records),
    }  # fmt: skip


def machine(environment: Mapping[str, Any]) -> dict[str, Any]:
    """The machine that a choice holds for: the processor, its cores and the GPUs."""
    return {"cpu": environment["cpu"], "cores": environment["cores_available"],
            "gpus": [each["name"] for each in environment["gpus"]]}  # fmt: skip


def trial(record: Record) -> dict[str, Any]:
    """A row of ``trials``; the figures are those of the load that gave the score."""
    best, worth = record.worth.point, record.worth
    return {
        "number": record.number, "state": record.state, "archive": record.configuration.archive,
        "variant": record.configuration.variant, "settings": record.configuration.settings, "reason": record.reason,
        "seconds": record.seconds, "score": None if worth.score is None else round(worth.score, 3),
        "meets": worth.meets, "points": [_point(each) for each in record.outcome.points],
        "load": best.load if best else None, "requests_per_s": best.requests_per_s if best else None,
        "p50_ms": best.p50_ms if best else None, "p99_ms": best.p99_ms if best else None,
        "memory_mib": _rounded(record.outcome.memory_mib), "gpu_memory_mib": _rounded(record.outcome.gpu_memory_mib),
    }  # fmt: skip


def _point(point: Any) -> dict[str, Any]:
    return {name: value for name, value in asdict(point).items() if name != "kept_up"}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def why(
    request: Request, rows: Sequence[dict[str, Any]], won: dict[str, Any], default: dict[str, Any] | None, measured: int
) -> str:
    """One sentence: why the winner was chosen."""
    if not won["meets"]:
        nearest = "the default" if won is default else "the nearest"
        return f"None of {measured} configurations meets {asked(request)}; {nearest} has {won['reason']}."
    if won is not default:
        if default is None:
            return "The default could not be measured; this is the best measured configuration."
        ratio = won["ratio_to_default"]
        if not default["meets"]:
            return f"The default does not meet {asked(request)} ({default['reason']}); this is the best that does."
        return (f"{_figure(request, won)}, {ratio['ratio']:.2f} times the default's {_figure(request, default)} "
                f"(95 % interval {ratio['low']:.2f} to {ratio['high']:.2f}).")  # fmt: skip
    others = [row for row in ranked(request, rows) if row is not default]
    if not others or not others[0]["ratio_to_default"]:
        return f"The default stays: of {measured} configurations measured, no other meets {asked(request)}."
    ratio = others[0]["ratio_to_default"]
    words = str(Configuration(others[0]["archive"], others[0]["variant"], **others[0]["settings"]))
    return (f"The default stays: no other beats it by more than its interval; the best, {words}, has "
            f"{ratio['ratio']:.2f} times its {request.objective} ({ratio['low']:.2f} to {ratio['high']:.2f}).")


def asked(request: Request) -> str:
    """The conditions that a configuration must meet, in words."""
    parts = [f"a p99 of {request.slo_p99_ms:g} ms"] if request.slo_p99_ms else []
    parts += [f"{request.rate:g} requests/s"] if request.rate else []
    return " at ".join(parts) or "the condition that all answers are right"


def _figure(request: Request, row: dict[str, Any]) -> str:
    return f"{row['score']:g} {unit(request)}"


def _open_loop(won: dict[str, Any], peak: Peak | None) -> dict[str, Any] | None:
    if peak is None:
        return None
    return {"archive": won["archive"], "requests_per_s": peak.requests_per_s, "slo_p99_ms": peak.slo_p99_ms,
            "limited_by": peak.limited_by}  # fmt: skip


def pareto(space: Space, records: Sequence[Record]) -> list[int]:
    """The numbers of the trials that no other one beats in throughput, median latency, memory and closeness to fp32
    (accuracy where there is one, else cosine) at once."""
    figures = {each.number: _merits(space, each) for each in records if each.worth.meets}
    return [number for number, mine in figures.items()
            if not any(_dominates(theirs, mine) for theirs in figures.values())]  # fmt: skip


def _merits(space: Space, record: Record) -> tuple[float, ...]:
    """The quantities that are compared; of each, more is better."""
    point, parity = record.worth.point, space.candidates[record.configuration.variant].parity
    assert point is not None  # it meets the objective
    right = parity.get("accuracy") if parity.get("accuracy") is not None else parity.get("cosine")
    return point.requests_per_s, -(point.p50_ms or 0.0), -(record.outcome.memory_mib or 0.0), right or 0.0


def _dominates(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a != b and all(x >= y for x, y in zip(a, b, strict=True))


def write(decision: Mapping[str, Any], folder: Path) -> Path:
    """Writes decision.json atomically; returns its path."""
    path, partial = folder / FILE, folder / f"{FILE}.part"
    partial.write_text(json.dumps(decision, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)
    return path
