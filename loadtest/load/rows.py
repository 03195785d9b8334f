"""One row per request, in whole microseconds: the raw material that every report is made of.

Knows how rows are written, read and merged. It does not judge them, and knows neither Locust nor HTTP.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DROPPED, WRONG, TIMEOUT = "dropped", "wrong answer", "timeout"  # kinds of error that the client itself finds
OVERLOAD = (DROPPED, TIMEOUT, "503 queue")  # what a server that is sound does under too much load
UNKNOWN = -1  # a time or count that the server did not state, as in an error's answer
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class RequestRow:
    """A request. Instants are microseconds since 1970 by the client's clock; stages are the server's own words.

    ``intended_us`` is when the schedule wanted it sent; in a closed loop that is when it was sent. ``error`` is "" or
    the kind of failure; ``checked`` is 1 when the answer was compared with the golden one, which a failure "wrong
    answer" then reports.
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


FIELDS = tuple(field.name for field in fields(RequestRow))
TEXT = ("archive", "error")


def write(path: Path, rows: Iterable[RequestRow]) -> None:
    """Writes gzipped CSV with a header, the same bytes for the same rows, whole or not at all."""
    partial = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    # No file name and no clock in the gzip header, so that equal rows are equal files.
    with partial.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
        with io.TextIOWrapper(packed, encoding="utf-8", newline="") as text:
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(FIELDS)
            writer.writerows(to_list(row) for row in rows)
    partial.replace(path)


def read(path: Path) -> list[RequestRow]:
    """The rows of a file. Raises ValueError when its header is not this version's."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as text:
        reader = csv.reader(text)
        header = tuple(next(reader, ()))
        if header != FIELDS:
            raise ValueError(f"{path.name} has other columns than these rows: {', '.join(FIELDS)}.")
        return [from_list(cells) for cells in reader]


def to_list(row: RequestRow) -> list[Any]:
    """The row's values in the order of FIELDS; what goes over the wire from a worker, too."""
    return [getattr(row, name) for name in FIELDS]


def from_list(cells: Sequence[Any]) -> RequestRow:
    """The inverse of ``to_list``, from text as well. Raises ValueError when the count is wrong."""
    if len(cells) != len(FIELDS):
        raise ValueError(f"A row has {len(cells)} cells and needs {len(FIELDS)}.")
    values: list[Any] = [str(cell) if name in TEXT else int(cell) for name, cell in zip(FIELDS, cells, strict=True)]
    return RequestRow(*values)


def merge(parts: Iterable[Iterable[RequestRow]]) -> list[RequestRow]:
    """The rows of several workers as one list in order of sending: every row once, none changed."""
    return sorted((row for part in parts for row in part), key=lambda row: (row.sent_us, to_list(row)))


@dataclass(frozen=True)
class Columns:
    """Rows as arrays of one length, for arithmetic; stages are NaN where the server did not state them."""

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
        ints = np.array(
            [
                [r.intended_us, r.sent_us, r.ended_us, r.preprocess_us, r.inference_us, r.postprocess_us, r.batch_size]
                for r in rows
            ],
            dtype=np.int64,
        ).reshape(-1, 7)
        ok = np.array([not row.error for row in rows], dtype=bool)
        stated = [np.where(ints[:, i] == UNKNOWN, np.nan, ints[:, i]) for i in range(3, 7)]
        return cls(ints[:, 0], ints[:, 1], ints[:, 2], ok, *stated)

    @property
    def latency(self) -> Ints:
        """Microseconds from the intended start to the end: what a user waits."""
        return self.ended - self.intended

    @property
    def service(self) -> Ints:
        """Microseconds from the actual send to the end: what the server took, once asked."""
        return self.ended - self.sent

    def take(self, mask: Bools) -> Columns:
        """The rows where ``mask`` is true."""
        return Columns(*(getattr(self, field.name)[mask] for field in fields(self)))
