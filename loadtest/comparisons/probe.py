"""One archive on a separate server, and a load on it in four numbers, for comparisons outside a report.

$MODELS, $VARIANTS and $DEVICE name the archive, default null. $DURATION is the time of each load in seconds. $HOST
names a server that runs already.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from typing import TypeVar

import numpy as np

from export import catalog
from loadtest import stats
from loadtest.errors import LoadTestError
from loadtest.load import cores
from loadtest.load.crew import Crew, processes
from loadtest.load.engine import Load
from loadtest.load.rows import Columns
from loadtest.load.target import Target
from loadtest.measure import profile
from loadtest.measure.servers import Server, device, fresh, given, running
from loadtest.measure.trial import Rule, measure
from serving.choice import names

N = TypeVar("N", int, float)


@dataclass(frozen=True)
class Quantiles:
    """Milliseconds, requests per second, and the client's processor time as a share of one core, if it is known."""

    p50: float
    p99: float
    requests_per_s: float
    client_cpu: float = 0.0


@dataclass(frozen=True)
class Subject:
    """A server with the archive, the archive, the load generator, and a description of the measurement."""

    server: Server
    target: Target
    crew: Crew
    said: str


@contextmanager
def one_archive(users: Sequence[int], rates: Sequence[float] = ()) -> Iterator[Subject]:
    """The archive, for loads of these numbers of users and of these rates; $PROCESSES and $PROTOCOL as in ``make
    loadtest``.

    The client stays on its own cores during the block. Raises CatalogError, LoadTestError, ServingError.
    """
    asked, protocol = profile.asked_processes(os.environ), profile.asked_protocol(os.environ)
    count = processes(asked, users, rates)
    split, variants = cores.here(count), names(os.environ, "VARIANTS") or ["eager"]
    row = catalog.rows(names(os.environ, "MODELS") or ["null"], variants, device(variants))[0]
    host = given()
    with running(host) if host else fresh([row.name], split) as server, cores.on(() if host else split.client):
        said = f"client on any core, server at {host}" if host else split.statement
        with Crew(count, None if host else split, bool(asked)) as crew:
            yield Subject(server, server.target(row.name, protocol), crew, f"{row.name}, {said}")


def seconds_each() -> float:
    """The seconds for which each load is measured."""
    return numbers("DURATION", "10", float)[0]


def numbers(name: str, default: str, kind: Callable[[str], N]) -> tuple[N, ...]:
    """The numbers of an environment variable. Raises LoadTestError."""
    text = os.environ.get(name) or default
    with contextlib.suppress(ValueError):  # one message for text that is no number and for a number that is not valid
        if (found := profile.numbers(kind)(text)) and min(found) > 0:
            return found
    raise LoadTestError(f"{name} is {text!r}; write numbers above 0 with commas between, as in {name}={default}")


def ours(load: Load, seconds: float, intended: np.ndarray | None = None) -> Quantiles:
    """The service times of a load of that many seconds."""
    seen = measure(load, Rule(seconds, 2, 1, fixed=True), intended)
    begin = seen.begin_us + seen.warm_up_windows * seen.window_us
    columns = Columns.of([row for row in seen.rows if begin <= row.ended_us < begin + seen.window_us])
    if not columns.ok.all() or not columns.ok.any():
        raise LoadTestError("Requests failed while measuring; see: make logs")
    return replace(quantiles(columns.service / 1e3, seconds), client_cpu=seen.client_cpu)


def quantiles(ms: np.ndarray, seconds: float) -> Quantiles:
    """The quantiles of times in milliseconds, measured in ``seconds`` seconds."""
    return Quantiles(stats.percentile(ms, 50), stats.percentile(ms, 99), ms.size / seconds)


def mean(a: Quantiles, b: Quantiles) -> Quantiles:
    """The mean of each number."""
    return Quantiles(*((x + y) / 2 for x, y in zip(astuple(a), astuple(b), strict=True)))
