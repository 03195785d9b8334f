"""A comparison as make compare writes it: LitServe is ahead at 8 clients, MLServer does not start."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from typing import Any

from compare import ranking
from compare.plan import BEST, OURS, Setting

ENVIRONMENT = {
    "date": "2026-11-29T10:00:00+00:00", "cpu": "Some CPU", "cores": 2, "cores_available": 2, "memory_gib": 8.0,
    "gpus": [], "os": "Linux", "python": "3.11.7", "packages": {"torch": "2.14.1"}, "git": {},
    "load_average_before": 0.1, "command": "make compare", "pinning": "client and server shared all cores",
}  # fmt: skip
SPEEDS = {  # by subject and clients: requests/s of the windows of each turn
    (OURS, 1): [[70, 71, 72], [70, 72, 71]],
    (OURS, 8): [[100, 101, 99], [101, 102, 100]],
    (BEST, 1): [[140, 141, 142], [141, 142, 140]],
    (BEST, 8): [[200, 201, 202], [199, 202, 200]],
    ("fastapi", 1): [[60, 61, 62], [60, 62, 61]],
    ("fastapi", 8): [[100, 99, 101], [102, 101, 99]],
    ("litserve", 1): [[50, 51, 50], [52, 51, 50]],
    ("litserve", 8): [[120, 121, 119], [120, 122, 121]],
}
TITLES = {OURS: "ours, as served by default", BEST: "ours, best variant", "fastapi": "FastAPI", "litserve": "LitServe",
          "mlserver": "MLServer"}  # fmt: skip


def row(subject: str, clients: int, turns: list[list[float]], **changed: Any) -> dict[str, Any]:
    setting = Setting(variant="int8") if subject == BEST else Setting(2, 1, 8, 2.0)
    mean = sum(map(sum, turns)) / sum(map(len, turns))
    return {
        "subject": subject, "clients": clients, "setting": setting.label, "settings": asdict(setting), "turns": turns,
        "requests_per_s": round(mean, 2), "requests_per_s_ci": [mean - 1, mean + 1], "p50_ms": 10.0,
        "p50_ci_ms": [9.9, 10.1], "p99_ms": None, "p99_ci_ms": None, "processor_ms": 12.5, "client_share": 0.1,
        "inference_ms": 8.0, "memory_mib": 800.0,
        "cosine": 0.9964 if subject == BEST else 1.0, "failed": 0.0, "wrong": 0, "errors": [],
        **changed,
    }  # fmt: skip


def result(speeds: dict[tuple[str, int], list[list[float]]] = SPEEDS, **changed: Any) -> dict[str, Any]:
    rows = [row(subject, clients, turns) for (subject, clients), turns in speeds.items()]
    return {
        "environment": ENVIRONMENT, "model": "minilm", "device": "cpu", "clients": [1, 8], "window_s": 1.0, "rounds": 2,
        "subjects": [
            {"name": name, "title": title, "said": "as it says", "same_file": name != BEST, "pins": [],
             "settings": [], "installed": {}, "not_measured": "no wheel for this Python" if name == "mlserver" else ""}
            for name, title in TITLES.items()
        ],
        "tried": [
            {"subject": "litserve", "clients": 8, "setting": "2 × 1, batch 8", "requests_per_s": 119.0, "reason": ""},
            {"subject": "litserve", "clients": 8, "setting": "1 × 2, batch 8", "requests_per_s": None,
             "reason": "ended while starting"},
        ],
        "rows": rows, "ratios": [dict(each) for each in _ratios(tuple(speeds))], **changed,
    }  # fmt: skip


@cache
def _ratios(keys: tuple[tuple[str, int], ...]) -> list[dict[str, Any]]:
    """Of the rows with these keys: their intervals take a second."""
    rows = [row(subject, clients, SPEEDS[subject, clients]) for subject, clients in keys]
    return ranking.ratios(rows, [OURS, BEST], ["fastapi", "litserve", "mlserver"])
