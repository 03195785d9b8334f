"""The comparison in sentences, one per line. The cases in which a peer is ahead come first. A pure function of the
result's JSON.

Knows the wording. ranking.py decides which server is ahead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from compare import ranking
from compare.plan import BEST, OURS, TUNED
from compare.ranking import AHEAD, BEHIND, LEVEL, TARGETS, TableRow
from loadtest.report.numbers import amount, at_least

Result = dict[str, Any]
NAMES = {OURS: "ours as served by default", TUNED: "ours with its settings tried", BEST: "our best variant"}
NONE_AHEAD = "No peer is ahead at any load."
OUTCOMES = {
    "met": "is met", "missed": "is missed",
    "open": "is neither met nor missed: some intervals lie on both sides of it",
}  # fmt: skip


def sentences(result: Result) -> str:
    """The whole answer."""
    # Doubts come before the ratios that they concern.
    parts = (_behind, _doubts, _not_measured, _ahead, _level, _targets, _why, _parity)
    return "\n".join(said for part in parts for said in part(result))


def title(result: Result, name: str) -> str:
    """The name of a subject in sentences."""
    return next(str(each["title"]) for each in result["subjects"] if each["name"] == name)


def interval(row: TableRow) -> str:
    """ "0.84 times (0.80 to 0.88)" """
    return f"{amount(row['ratio'])} times ({amount(row['low'])} to {amount(row['high'])})"


def clients(count: int) -> str:
    """A number of clients, with the noun."""
    return f"{count} client{'s' * (count != 1)}"


def _ours(result: Result) -> list[str]:
    return [name for name in (OURS, TUNED, BEST) if any(row["ours"] == name for row in result["ratios"])]


def _of(result: Result, own: str, verdict: str) -> list[TableRow]:
    return [row for row in result["ratios"] if row["ours"] == own and row["verdict"] == verdict]


def _behind(result: Result) -> list[str]:
    """A sentence per peer that is ahead of one of ours, with the loads and ratios."""
    found = []
    for own in _ours(result):
        for peer in dict.fromkeys(row["peer"] for row in _of(result, own, BEHIND)):
            mine = [row for row in _of(result, own, BEHIND) if row["peer"] == peer]
            loads = "; ".join(f"{clients(row['clients'])}: ours has {interval(row)} its requests/s" for row in mine)
            found.append(f"{title(result, peer)} is ahead of {NAMES[own]} at {loads}.")
    return found or ([NONE_AHEAD] if result["ratios"] else [])


def _not_measured(result: Result) -> list[str]:
    return [
        f"{each['title']} was not measured: {each['not_measured'].rstrip('.')}."
        for each in result["subjects"] if each["not_measured"]
    ]  # fmt: skip


def _ahead(result: Result) -> list[str]:
    """A sentence per load and one of ours: the peers that are behind, with ratios."""
    found = []
    for own in _ours(result):
        for count in result["clients"]:
            mine = [row for row in _of(result, own, AHEAD) if row["clients"] == count]
            if mine:
                peers = _listed([f"{title(result, row['peer'])} {interval(row)}" for row in mine])
                found.append(f"With {clients(count)}, {NAMES[own]} is ahead of {peers}.")
    return found


def _level(result: Result) -> list[str]:
    found = []
    for own in _ours(result):
        if mine := _of(result, own, LEVEL):
            pairs = [f"{title(result, row['peer'])} at {clients(row['clients'])} {interval(row)}" for row in mine]
            found.append(f"Between {NAMES[own]} and these no difference is shown: {_listed(pairs)}.")
    return found


def _targets(result: Result) -> list[str]:
    return [
        f"The target for {NAMES[own]}, {TARGETS[own]:g} times each peer's requests/s at every load, "
        f"{OUTCOMES[ranking.target(result['ratios'], own)]}."
        for own in _ours(result)
    ]


def _why(result: Result) -> list[str]:
    """For each load at which a peer is ahead: the processor time per answer of both servers, and the time of our
    model."""
    by_key = {(row["subject"], row["clients"]): row for row in result["rows"]}
    found = []
    for row in result["ratios"]:
        if row["verdict"] == BEHIND:
            own, peer = (by_key[row[side], row["clients"]] for side in ("ours", "peer"))
            found.append(
                f"At {clients(row['clients'])} an answer takes {amount(peer['processor_ms'])} ms of processor time in "
                f"{title(result, row['peer'])} ({peer['setting']}) and {amount(own['processor_ms'])} ms in "
                f"{NAMES[row['ours']]} ({own['setting']}), whose model takes {amount(own['inference_ms'])} ms of a "
                f"median of {amount(own['p50_ms'])} ms."
            )
    return found


def _parity(result: Result) -> list[str]:
    """The cosine to eager fp32, of all servers with the same file, and of ours with another file."""
    same = [row["cosine"] for row in result["rows"] if row["subject"] != BEST]
    found = [f"The same file's answers have a cosine of at least {at_least(min(same), 6)} to eager fp32 everywhere."]
    other = {row["settings"]["variant"]: row["cosine"] for row in result["rows"] if row["subject"] == BEST}
    said = _listed([f"`{variant}` of at least {at_least(cosine, 6)}" for variant, cosine in other.items()])
    return (found if same else []) + ([f"Our best variant's: {said}."] if other else [])


def _doubts(result: Result) -> list[str]:
    rows, found = result["rows"], []
    if bad := [row for row in rows if row["failed"]]:
        named = [f"{title(result, row['subject'])} at {clients(row['clients'])} ({row['failed']:.1%})" for row in bad]
        found.append(f"Requests failed: {_listed(named)}.")
    if empty := [row for row in rows if not row["requests_per_s"] and not row["failed"]]:
        named = [f"{title(result, row['subject'])} at {clients(row['clients'])}" for row in empty]
        found.append(f"No answer came within the windows of {_listed(named)}; a longer DURATION= has some.")
    if (before := result["environment"]["load_average_before"]) > 0.5 * result["environment"]["cores_available"]:
        found.append(f"The machine was busy before (load average {before:g}): measure again while nothing else runs.")
    return found


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + (" and " if len(words) > 1 else "") + (words[-1] if words else "")
