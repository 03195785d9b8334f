"""The figures of the finals, and the ratios of ours to each peer: pure functions.

Knows intervals, and when a server is ahead. The bootstrap draws whole turns, then windows within them, since figures
vary more between starts of a server than between windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from compare.plan import BEST, OURS, TUNED
from loadtest import stats

if TYPE_CHECKING:  # not at run time: they import Locust, which patches the process
    from compare.contest import Final, Tried

AHEAD, BEHIND, LEVEL = "ahead", "behind", "level"
TARGETS = {OURS: 1.0, TUNED: 1.0, BEST: 1.5}  # requests/s of ours over a peer's, at every load
TableRow = dict[str, Any]


def rows(finals: Sequence[Final]) -> list[TableRow]:
    """A row per subject and load, in their order."""
    keys = dict.fromkeys((each.subject, each.clients) for each in finals)
    ordered = sorted(keys, key=lambda key: (list(dict.fromkeys(name for name, _ in keys)).index(key[0]), key[1]))
    return [_row([each for each in finals if (each.subject, each.clients) == key]) for key in ordered]


def _row(turns: Sequence[Final]) -> TableRow:
    first, seen = turns[0], [each.seen for each in turns]
    windows = [[round(rate, 3) for rate in each.requests_per_s] for each in seen]
    latency = np.concatenate([each for one in seen for each in one.latency_us])
    return {
        "subject": first.subject, "clients": first.clients, "setting": first.setting.label,
        "settings": asdict(first.setting), "turns": windows, "requests_per_s": round(float(np.mean(windows)), 2),
        "requests_per_s_ci": _interval(windows), **_latency(latency, 50), **_latency(latency, 99),
        "processor_ms": round(float(np.mean([each.processor_ms for each in seen])), 2),
        "inference_ms": _mean([each.inference_ms for each in seen if each.inference_ms is not None]),
        "client_share": round(float(np.mean([each.client_share for each in seen])), 3),
        "memory_mib": round(float(np.mean([each.memory_mib for each in turns])), 1),
        "cosine": round(min(each.cosine for each in turns), 8),
        "failed": round(max(each.failed for each in seen), 6), "wrong": sum(each.wrong for each in seen),
        "errors": sorted({error for each in seen for error in each.errors}),
    }  # fmt: skip


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 3) if values else None


def _latency(values: np.ndarray, q: float) -> TableRow:
    found = stats.estimate(values, q) if values.size else None
    name = stats.key(q)
    if found is None:
        return {f"{name}_ms": None, f"{name}_ci_ms": None}
    return {f"{name}_ms": round(found.value / 1e3, 3),
            f"{name}_ci_ms": [round(found.low / 1e3, 3), round(found.high / 1e3, 3)]}  # fmt: skip


def _interval(windows: Sequence[Sequence[float]]) -> list[float] | None:
    if not np.any(windows):
        return None
    found = stats.compare([[1.0]], windows, np.mean)  # a ratio to one is the figure itself
    return [round(found.low, 2), round(found.high, 2)]


def tried(found: Sequence[Tried]) -> list[TableRow]:
    """A row per setting that was tried, with the reason if it was not taken."""
    return [
        {"subject": each.subject, "clients": each.clients, "setting": each.setting.label,
         "requests_per_s": round(each.seen.mean, 2) if each.seen else None, "reason": each.reason}
        for each in found
    ]  # fmt: skip


def ratios(found: Sequence[TableRow], ours: Sequence[str], peers: Sequence[str]) -> list[TableRow]:
    """Our requests per second over a peer's, for each of ours, each peer and each load at which both were measured."""
    by_key = {(row["subject"], row["clients"]): row for row in found}
    loads = sorted({row["clients"] for row in found})
    pairs = [(own, peer, count) for own in ours for peer in peers for count in loads]
    return [
        _ratio(by_key[own, count], by_key[peer, count])
        for own, peer, count in pairs
        if (own, count) in by_key and (peer, count) in by_key and usable(by_key[own, count], by_key[peer, count])
    ]


def usable(*found: TableRow) -> bool:
    """Whether every window of these rows has answers, and none of them is wrong."""
    return all(row["wrong"] == 0 and np.all(row["turns"]) for row in found)


def _ratio(own: TableRow, peer: TableRow) -> TableRow:
    compared = stats.compare(peer["turns"], own["turns"], np.mean)
    return {
        "ours": own["subject"], "peer": peer["subject"], "clients": own["clients"],
        "ratio": round(compared.ratio, 4), "low": round(compared.low, 4), "high": round(compared.high, 4),
        "verdict": AHEAD if compared.low > 1 else BEHIND if compared.high < 1 else LEVEL,
    }  # fmt: skip


def target(found: Sequence[TableRow], own: str) -> str:
    """The state of the target of one of ours: "met" if the whole interval of every ratio meets it, "missed" if one
    interval is wholly below it, else "open"."""
    mine = [row for row in found if row["ours"] == own]
    if any(row["high"] < TARGETS[own] for row in mine):
        return "missed"
    return "met" if mine and all(row["low"] >= TARGETS[own] for row in mine) else "open"
