"""One row per request, in whole microseconds. Every report is computed from rows.

Knows how rows are written, read and merged. Knows neither verdicts nor Locust nor HTTP.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

DROPPED, WRONG, TIMEOUT = "dropped", "wrong answer", "timeout"  # kinds of error that the client itself finds
OVERLOAD = (DROPPED, TIMEOUT, "503 queue")  # what a server that is sound does under too much load
UNKNOWN = -1  # a time or count that the server did not state, as in an error's answer
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class RequestRow(NamedTuple):
    """A request. Instants are microseconds since 1970 by the client's clock. The server states the times of stages.

    ``intended_us`` is the send time of the schedule; in a closed loop it is the actual send time. ``error`` is "" or
    the kind of failure. ``checked`` is 1 if the answer was compared with the golden answer; a difference is the failure
    "wrong answer".
    """

    archive: str
    intended_us: int
    sent_us: int
    ended_us: int
    status: int
    error: str
    bytes: int
    preprocess_us: int
    inference_us: int
    postprocess_us: int
    batch_size: int
    checked: int


FIELDS = RequestRow._fields
TEXT = ("archive", "error")
FROM_CELL: tuple[type[str] | type[int], ...] = tuple(str if name in TEXT else int for name in FIELDS)


def write(path: Path, rows: Iterable[RequestRow]) -> None:
    """Writes gzipped CSV with a header, atomically. The same rows give the same bytes."""
    partial = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    # No file name and no clock in the gzip header, so that equal rows are equal files.
    with partial.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
        with io.TextIOWrapper(packed, encoding="utf-8", newline="") as text:
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(FIELDS)
            writer.writerows(rows)
    partial.replace(path)


def read(path: Path) -> list[RequestRow]:
    """The rows of a file. Raises ValueError if its header is of another version."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as text:
        reader = csv.reader(text)
        header = tuple(next(reader, ()))
        if header != FIELDS:
            raise ValueError(f"{path.name} has other columns than these rows: {', '.join(FIELDS)}.")
        return [from_list(cells) for cells in reader]


def to_list(row: RequestRow) -> list[Any]:
    """The row's values in the order of FIELDS. Locust's workers send rows in this form."""
    return list(row)


def from_list(cells: Sequence[Any]) -> RequestRow:
    """The inverse of ``to_list``; accepts cells of text too. Raises ValueError for a wrong number of cells."""
    if len(cells) != len(FIELDS):
        raise ValueError(f"A row has {len(cells)} cells and needs {len(FIELDS)}.")
    values: list[Any] = [kind(cell) for kind, cell in zip(FROM_CELL, cells, strict=True)]
    return RequestRow(*values)


def merge(parts: Iterable[Iterable[RequestRow]]) -> list[RequestRow]:
    """The rows of several workers as one list, in order of sending."""
    return sorted((row for part in parts for row in part), key=lambda row: (row.sent_us, row))


@dataclass(frozen=True)
class Columns:
    """Rows as arrays of one length. Stages are NaN if the server did not state them."""

    intended: Ints
    sent: Ints
    ended: Ints
    ok: Bools
    preprocess: Floats
    inference: Floats
    postprocess: Floats
    batch: Floats

    @classmethod
    def of(cls, rows: Sequence[RequestRow]) -> Columns:
        """Columns of ``rows``, in their order."""

        def ints(name: str) -> Ints:
            return np.fromiter(map(attrgetter(name), rows), np.int64, len(rows))

        def stated(name: str) -> Floats:
            found = ints(name)
            return np.where(found == UNKNOWN, np.nan, found)

        ok = np.fromiter((not row.error for row in rows), bool, len(rows))
        return cls(
            ints("intended_us"), ints("sent_us"), ints("ended_us"), ok, stated("preprocess_us"),
            stated("inference_us"), stated("postprocess_us"), stated("batch_size"),
        )  # fmt: skip

    @classmethod
    def joined(cls, parts: Sequence[Columns]) -> Columns:
        """The rows of all ``parts``, one after the other."""
        every = [cls.of([]), *parts]
        return cls(*(np.concatenate([getattr(part, field.name) for part in every]) for field in fields(cls)))

    @property
    def latency(self) -> Ints:
        """Microseconds from the intended start to the end: the time that a user waits."""
        return self.ended - self.intended

    @property
    def service(self) -> Ints:
        """Microseconds from the actual send to the end: the time that the server took."""
        return self.ended - self.sent

    def take(self, mask: Bools) -> Columns:
        """The rows where ``mask`` is true."""
        return Columns(*(getattr(self, field.name)[mask] for field in fields(self)))
