"""``python -m loadtest.comparisons.protocols``: compares the time of a request over HTTP and over gRPC.

One client sends requests over HTTP and over TorchServe's own gRPC in turns, so that other work on the machine affects
both alike. The time of a request runs from the client's call to its return, so it includes the client's own work.
$MODELS and $VARIANTS name the archive, $REQUESTS is the number of requests of each protocol (1,000); $HOST as in ``make
loadtest``.
"""

from __future__ import annotations

import loadtest.patches  # noqa: F401 - first of all: it patches what the modules below import

# isort: split
import sys
import time

import numpy as np

from export.catalog import CatalogError
from loadtest import stats
from loadtest.comparisons.probe import Subject, numbers, one_archive
from loadtest.errors import LoadTestError
from loadtest.load.payloads import Payload
from loadtest.load.users import Sender, sender
from loadtest.measure.profile import PROTOCOLS
from loadtest.report import markdown_report
from loadtest.report.numbers import DASH
from serving.errors import ServingError

WARM_UP = 100  # requests over each
HEADER = ("protocol", "p50, ms", "p90, ms", "p99, ms")


def main() -> int:
    """Prints the table. Returns 2 if nothing could be measured."""
    try:
        count = numbers("REQUESTS", "1000", int)[0]
        with one_archive([1]) as subject:
            found = in_turns(subject, count)
            said = subject.said
    except (LoadTestError, CatalogError, ServingError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{said}; {count} requests over each, in turns\n\n{table(found)}")
    return 0


def in_turns(subject: Subject, count: int) -> np.ndarray:
    """Milliseconds of each request, [count, protocols]. Raises LoadTestError if a request fails, or if the answers over
    both protocols differ."""
    targets = [subject.server.target(subject.target.archive, protocol) for protocol in PROTOCOLS]
    targets[0].golden = targets[0].record_golden()
    senders, payloads = [sender(target) for target in targets], targets[0].payloads
    found = []
    for turn in range(-WARM_UP, count):
        payload, row = payloads[turn % len(payloads)], [0.0] * len(senders)
        for which in range(len(senders)) if turn % 2 else reversed(range(len(senders))):
            row[which], body = _timed(senders[which], payload)
            if not targets[0].golden.matches(payload, body):
                raise LoadTestError(f"{PROTOCOLS[which]} has another answer to {payload.name}.")
        if turn >= 0:
            found.append(row)
    return np.array(found)


def _timed(asked: Sender, payload: Payload) -> tuple[float, bytes]:
    """(milliseconds, the answer's body)"""
    began = time.perf_counter()
    reply, error = asked.send(payload)
    ended = time.perf_counter()
    if error:
        raise LoadTestError(f"A request failed while measuring ({error}); see: make logs")
    return (ended - began) * 1e3, reply.content


def table(found: np.ndarray) -> str:
    """The times of each protocol, and the median of the differences within a turn with its 95 % interval."""
    lines = [_line(protocol, found[:, at]) for at, protocol in enumerate(PROTOCOLS)]
    added = stats.estimate(found[:, 1] - found[:, 0], 50)
    said = (
        "Too few turns to compare them."
        if added is None
        else (
            f"gRPC takes {added.value:+.2f} ms more in the median turn, 95 % interval {added.low:+.2f} to "
            f"{added.high:+.2f}."
        )
    )
    return f"{markdown_report.table(HEADER, lines, range(1, 4))}\n\n{said}"


def _line(protocol: str, times: np.ndarray) -> list[str]:
    known = [stats.estimate(times, q) for q in (50, 90, 99)]
    return [protocol, *(DASH if each is None else f"{each.value:.2f}" for each in known)]


if __name__ == "__main__":
    sys.exit(main())
