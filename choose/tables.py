"""The tables of a decision's page: their columns in order, and the text of cells. Speed is always shown with parity.

Knows decision.json's keys, and which columns a narrow screen shows first. Knows no HTML and no Markdown.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any

from export.parity import Parity
from loadtest.report.numbers import DASH, amount, number, percent

Row = dict[str, Any]
STATES = {"complete": "measured", "pruned": "stopped early", "failed": "failed"}


@dataclass(frozen=True)
class Column:
    """One column: its heading, the text of a cell (with an optional second line) and its sort key.

    A column that is ``spare`` is left out if no row has a value.
    """

    title: str
    text: Callable[[Row], str]
    value: Callable[[Row], Any]
    numeric: bool = True
    spare: bool = False


def shown(columns: Sequence[Column], rows: Sequence[Row]) -> list[Column]:
    """The columns that have a value in these rows."""
    return [each for each in columns if not each.spare or any(each.value(row) is not None for row in rows)]


def finalists(decision: dict[str, Any]) -> list[Column]:
    """The columns of the table of finalists."""
    return [
        _configuration(decision),
        _measured("Requests/s", "requests_per_s", "requests_per_s_ci"),
        Column("Parity with eager fp32", parity, _difference, numeric=False),
        Column("Answers as the default's", _as_default, lambda row: row.get("answers_as_default"), spare=True),
        _measured("p99, ms", "p99_ms", "p99_ci_ms"),
        Column("Times the default", _ratio, lambda row: (row["ratio_to_default"] or {}).get("ratio")),
        Column("Verdict", lambda row: verdict(row, decision), lambda row: verdict(row, decision), numeric=False),
        _measured("p50, ms", "p50_ms", "p50_ci_ms"),
        _plain("Memory, MiB", "memory_mib"),
        _plain("GPU memory, MiB", "gpu_memory_mib", spare=True),
        _plain("Cost of a million", "cost_per_million", amount, spare=True),
        _plain("J per 1,000", "joules_per_1000", amount, spare=True),
        Column("Load", load, lambda row: row["load"], numeric=False),
    ]


def trials(decision: dict[str, Any]) -> list[Column]:
    """The columns of the table of all trials."""
    archives, front = decision["archives"], set(decision["pareto"])
    return [
        _configuration(decision),
        _plain("Requests/s", "requests_per_s"),
        Column("Parity", lambda row: parity(archives.get(row["archive"], {})),
               lambda row: _difference(archives.get(row["archive"], {})), numeric=False),
        _plain("p99, ms", "p99_ms"),
        Column("State", lambda row: _state(row, front), lambda row: _state(row, front), numeric=False),
        _plain("p50, ms", "p50_ms"),
        _plain("Memory, MiB", "memory_mib"),
        _plain("GPU memory, MiB", "gpu_memory_mib", spare=True),
        Column("Load", load, lambda row: row["load"], numeric=False),
        _plain("Trial", "number", str),
        _plain("Took, s", "seconds", amount),
    ]  # fmt: skip


def fixed(decision: dict[str, Any]) -> set[str]:
    """The settings with only one value. The page states them once."""
    return {name for name, values in decision["space"].items() if len(values) == 1}


def short(settings: dict[str, Any], leave_out: Container[str] = ()) -> str:
    """``2 × 1, batch 16, queue 100``: workers times threads of each, then the other settings, except those that are
    left out."""
    shown = [name for name in settings if name not in ("workers", "threads", "batch_size") and name not in leave_out]
    threads = settings["threads"] or "all"
    parts = [f"{settings['workers']} × {threads}", f"batch {settings['batch_size']}"]
    return ", ".join(parts + [f"{name} {settings[name]}" for name in shown])


def parity(row: Row) -> str:
    """Largest difference, then the other parts of the parity; a dash if it is not known."""
    record = row.get("parity")
    said = Parity.from_record(record).summary().replace(", ", "\n", 1) if record else DASH
    return f"{said}, before {row['handler']}" if row.get("handler") else said


def _as_default(row: Row) -> str:
    share = row.get("answers_as_default")
    return DASH if share is None else percent(share)


def load(row: Row) -> str:
    """Users of a closed loop, or the rate of an open one."""
    if row["load"] is None:
        return DASH
    mode = row.get("mode") or (row["points"][-1]["mode"] if row.get("points") else "closed")
    return f"{row['load']:g}/s" if mode == "open" else f"{row['load']:g} at a time"


def verdict(row: Row, decision: dict[str, Any]) -> str:
    """The verdict on a finalist: chosen, default, misses the conditions, unstable."""
    words = ["chosen"] * (same(row, decision["winner"]) and row["meets"]) + ["default"] * row["is_default"]
    words += ["exact fp32"] * row["exact"] + ["misses the conditions"] * (not row["meets"])
    said = ", ".join(words + ["unstable"] * (not row["stable"])) or "met"
    return f"{said}\n{row['reason']}" if row.get("reason") else said


def same(row: Row, other: Row | None) -> bool:
    """Whether both are the same archive with the same settings."""
    if not other:
        return False
    return (row["archive"], row["settings"]) == (other["archive"], other["settings"])


def _configuration(decision: dict[str, Any]) -> Column:
    leave_out = fixed(decision)

    def text(row: Row) -> str:
        stamp = " (random weights)" if row.get("random_weights") else ""
        return f"{row['archive']}{stamp}\n{short(row['settings'], leave_out)}"

    return Column("Configuration", text, lambda row: row["archive"], numeric=False)


def _state(row: Row, front: set[int]) -> str:
    words = [STATES[row["state"]]] + ["on the Pareto front"] * (row["number"] in front)
    words += ["misses the conditions"] * (row["state"] == "complete" and not row["meets"])
    return ", ".join(words) + (f"\n{row['reason']}" if row["reason"] else "")


def _difference(row: Row) -> float | None:
    return (row.get("parity") or {}).get("max_abs")


def _ratio(row: Row) -> str:
    ratio = row["ratio_to_default"]
    if not ratio:
        return "1" if row["is_default"] else DASH
    return f"{number(ratio['ratio'])}\n{number(ratio['low'])} to {number(ratio['high'])}"


def _measured(title: str, key: str, interval: str) -> Column:
    def text(row: Row) -> str:
        around = row.get(interval)
        return number(row[key]) + (f"\n{number(around[0])} to {number(around[1])}" if around else "")

    return Column(title, text, lambda row: row[key])


def _plain(title: str, key: str, write: Callable[[Any], str] = number, spare: bool = False) -> Column:
    return Column(title, lambda row: DASH if row.get(key) is None else write(row[key]), lambda row: row.get(key),
                  spare=spare)  # fmt: skip
