"""Forward passes side by side on a CPU.

The operators of a short pass are too small to share: a second processor thread hardly makes it faster. So several short
passes run at the same time, each on a thread of its own with its share of the worker's processor threads. Knows nothing
of models.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, Protocol, runtime_checkable

from handlers.runtimes import Outputs, Runtime


@runtime_checkable
class Shared(Protocol):
    """A runtime on a CPU that several threads may call at once. Each result is the caller's for good."""

    def on(self, threads: int, *inputs: Any) -> Outputs:
        """What the runtime returns for ``inputs``, computed by so many processor threads."""


class Lanes:
    """Runs passes of ``runtime`` side by side, on ``threads`` processor threads in all."""

    def __init__(self, runtime: Shared, threads: int) -> None:
        self._runtime, self._threads = runtime, threads
        self._pool = ThreadPoolExecutor(threads, "lane")

    def run(self, passes: Sequence[tuple[Any, ...]]) -> list[Outputs]:
        """The outputs for the inputs of each pass, in their order. Returns when all have ended, also by an error."""
        width = max(1, self._threads // len(passes))
        longest_first = sorted(range(len(passes)), key=lambda index: -passes[index][0].size)
        running = {index: self._pool.submit(self._runtime.on, width, *passes[index]) for index in longest_first}
        wait(running.values())
        return [running[index].result() for index in range(len(passes))]


def lanes(runtime: Runtime, threads: int) -> Lanes | None:
    """Lanes for a worker with so many processor threads; None where its passes run one after the other."""
    return Lanes(runtime, threads) if threads > 1 and isinstance(runtime, Shared) else None
