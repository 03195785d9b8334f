"""A hand-made space of twelve configurations with the answers of a server. It needs no server and no archives.

``python -m tests.choose.recorded FOLDER [KILL]`` searches it in FOLDER and kills itself at trial KILL, as kill -9
would. ``live`` searches in a process that kills itself at a write to the study's file.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

from choose.outcome import Outcome, Point
from choose.request import Request
from choose.space import Candidate, Configuration, Space, axes, default
from choose.study import Search, prior
from export import catalog

ASKED = Request(("digits",), trials=8)
SPEED = {"torchscript": 100.0, "onnx": 160.0, "int8": 210.0}
PARITY = {"torchscript": 1.0, "onnx": 1.0, "int8": 0.995}

# What the default depends on in an archive's settings.
CONFIG = {"minWorkers": 1, "batchSize": 8, "archive": {"threads": 0}}


def space(cores: int = 2) -> Space:
    """digits in three variants on ``cores`` cores, batches of 1 and 8."""
    rows = catalog.rows(["digits"], list(SPEED), "cpu")
    found = {row.variant.name: Candidate(row, "ab" * 32, {"cosine": PARITY[row.variant.name], "accuracy": 0.99})
             for row in rows}  # fmt: skip
    first = default(found["torchscript"].row, CONFIG, cores, 100)
    return Space("digits", "image-classification", "cpu", cores, found, tuple(found), axes(cores, 100, batches=(1, 8)),
                 first)  # fmt: skip


def requests_per_s(each: Configuration, users: int) -> float:
    """The server's figures: two workers of one thread are best, batches help, and the throughput is constant from 16
    users on."""
    used = min(each.workers * each.threads, 2) ** (0.9 if each.workers > 1 else 0.6)
    batching = 1.2 if each.batch_size > 1 and users > each.workers else 1.0
    return round(SPEED[each.variant] * used * batching * min(users, 16) ** 0.2, 1)


def points(each: Configuration, slow: float = 1.0) -> tuple[Point, ...]:
    """A closed loop of 1 to 32 users, each answer right."""
    made = []
    for users in (1, 2, 4, 8, 16, 32):
        rate = requests_per_s(each, users)
        ms = slow * users / rate * 1e3
        made.append(Point("closed", users, rate, ms, 2 * ms, 0.0, 0, True))
    return tuple(made)


def outcome(each: Configuration, **changes: object) -> Outcome:
    """The outcome of a configuration, with ``changes`` to its last point."""
    made = points(each)
    return Outcome((*made[:-1], replace(made[-1], **changes)), 200.0 * each.workers, None, 2.0)


def live(folder: Path, writes: int) -> int:
    """Searches in a fork that kills itself before its ``writes``-th commit to the study's file. Returns the wait
    status, 0 if the search ended by itself."""
    if child := os.fork():
        return os.waitpid(child, 0)[1]
    left = iter(range(writes, -1, -1))

    def commit(connection: object) -> None:
        if not next(left):
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "commit", commit)
    try:
        search = Search(folder, ASKED, space(), watched, list(prior(space(), ASKED, {})))
        search.run(lambda: 1e9)
        os._exit(0)
    finally:
        os._exit(1)


def watched(each: Configuration, watch: Any) -> Outcome:
    """The outcome of a configuration, with each of its points reported on the way."""
    for point in points(each):
        watch(point)
    return outcome(each)


def main() -> int:
    """Prints the key of each configuration as it is asked for."""
    kill = int(sys.argv[2]) if len(sys.argv) > 2 else -1

    def evaluate(each: Configuration, watch: object) -> Outcome:
        print(each.key, flush=True)
        if len(search.records()) == kill:
            os.kill(os.getpid(), signal.SIGKILL)
        return outcome(each)

    search = Search(Path(sys.argv[1]), ASKED, space(), evaluate, list(prior(space(), ASKED, {})))
    search.run(lambda: 1e9)
    return 0


if __name__ == "__main__":
    sys.exit(main())
