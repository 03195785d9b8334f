"""Recorded traffic: the instant and the number of tokens of each request, from published files.

Knows these formats, by their columns:

- Azure's LLM inference traces, CSV: TIMESTAMP (an instant), ContextTokens.
- Mooncake's, which AIPerf replays, a JSON object per line: timestamp (ms), input_length; the same columns as CSV.
- BurstGPT's, CSV: Timestamp (s), Request tokens.

The length of the generated answer is not read. engine.py sends a trace, and payloads.py makes bodies of its sizes.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.errors import LoadTestError

INSTANT = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)?")
LONGEST_S = 14 * 24 * 3600.0
EXPECTED = (
    "TIMESTAMP,ContextTokens (Azure), timestamp,input_length (Mooncake, AIPerf) or Timestamp,Request tokens (BurstGPT)"
)


@dataclass(frozen=True)
class Trace:
    """``arrivals_us`` int64 [n], ascending from 0; ``sizes`` int64 [n] tokens of each request, None if not recorded."""

    name: str
    arrivals_us: np.ndarray
    sizes: np.ndarray | None

    @property
    def seconds(self) -> float:
        """The seconds from the first arrival to the last; at least 1."""
        return max(1.0, float(self.arrivals_us[-1]) / 1e6)

    @property
    def rate(self) -> float:
        """Requests per second on average."""
        return self.arrivals_us.size / self.seconds

    @property
    def busiest(self) -> float:
        """Requests in its busiest second."""
        return float(np.bincount(self.arrivals_us // 1_000_000).max())

    def first(self, seconds: float) -> Trace:
        """The arrivals of the first ``seconds`` seconds; all of them for 0."""
        kept = self.arrivals_us <= (seconds * 1e6 if seconds else np.inf)
        sizes = None if self.sizes is None else self.sizes[kept]
        return replace(self, arrivals_us=self.arrivals_us[kept], sizes=sizes)

    def at(self, rate: float) -> Trace:
        """The same arrivals, scaled to ``rate`` per second on average; as recorded for 0."""
        factor = self.rate / rate if rate else 1.0
        return replace(self, arrivals_us=(self.arrivals_us * factor).astype(np.int64))


def read(path: Path) -> Trace:
    """The trace in the file, in order of arrival. Raises LoadTestError."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            found = list(_records(path, lines))
    except (OSError, ValueError, csv.Error) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise LoadTestError(f"TRACE {path} cannot be read ({why}); name a CSV or JSONL file.") from None
    if not found:
        raise LoadTestError(f"TRACE {path} holds no request; expected lines below the columns {EXPECTED}.")
    at, sizes = np.array([each[0] for each in found]), [each[1] for each in found]
    order = np.argsort(at, kind="stable")
    at = at[order] - at.min()
    if at[-1] > LONGEST_S * 1e6:
        raise LoadTestError(f"TRACE {path} spans {at[-1] / 86400e6:.0f} days, of which 14 at most can be replayed.")
    known = None if None in sizes else np.array(sizes, dtype=np.int64)[order]
    return Trace(path.name, np.round(at).astype(np.int64), known)


def _records(path: Path, lines: Any) -> Iterator[tuple[float, int | None]]:
    """(microseconds, tokens) of each line."""
    begin = lines.read(1)
    lines.seek(0)
    if begin == "{":
        rows: Iterator[Any] = (json_object(line) for line in lines if line.strip())
        columns = ["timestamp", "input_length"]
    else:
        rows = csv.DictReader(lines, skipinitialspace=True)
        columns = [name.strip() for name in rows.fieldnames or ()]
    column, instant, size = _format(path, columns)
    for number, row in enumerate(rows, 1 if begin == "{" else 2):
        try:
            tokens = row.get(size)
            yield instant(row[column]), None if tokens in (None, "") else _tokens(tokens)
        except (KeyError, ValueError, TypeError, OverflowError):
            said = f"TRACE {path}, line {number}: {_shown(row)} is not a request"
            raise LoadTestError(f"{said}; expected {EXPECTED}.") from None


def _format(path: Path, columns: list[str]) -> tuple[str, Callable[[Any], float], str]:
    """(column of instants, its reader, column of tokens)."""
    for column, instant, size in (
        ("TIMESTAMP", _instant, "ContextTokens"),
        ("timestamp", lambda text: _number(text, 1e3), "input_length"),
        ("Timestamp", lambda text: _number(text, 1e6), "Request tokens"),
    ):
        if column in columns:
            return column, instant, size
    shown = ", ".join(columns)[:80]
    raise LoadTestError(f"TRACE {path} has the columns {shown or '(none)'}; expected {EXPECTED}.")


def json_object(line: str) -> Mapping[str, Any]:
    """The object of a line. A line that is no object becomes an object without the expected fields."""
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"": line.strip()}


def _instant(text: str) -> float:
    """Microseconds since 1970; without a zone it is UTC."""
    found = INSTANT.fullmatch(text.strip())
    if not found:
        raise ValueError(text)
    day, time, fraction, zone = found.groups()
    at = datetime.fromisoformat(f"{day}T{time}{(zone or '').replace('Z', '+00:00')}")
    return (at if at.tzinfo else at.replace(tzinfo=timezone.utc)).timestamp() * 1e6 + float(fraction or 0) * 1e6


def _number(value: Any, unit_us: float) -> float:
    number = float(value) * unit_us
    if not 0 <= number < 1e18:
        raise ValueError(value)
    return number


def _tokens(value: Any) -> int:
    tokens = int(value)
    if tokens < 0:
        raise ValueError(value)
    return tokens


def _shown(row: Mapping[str, Any]) -> str:
    return ",".join(str(value) for value in row.values())[:60]
