"""Runs short forward passes concurrently on a CPU.

The operators of a short pass are small, so a second intra-op thread hardly makes them faster. Several short passes
therefore run at the same time. Each has a Python thread and its share of the worker's intra-op threads. Knows nothing
of models.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, Protocol, runtime_checkable

from handlers.runtimes import Outputs, Runtime


@runtime_checkable
class Shared(Protocol):
    """A runtime on a CPU that several threads may call concurrently. Later calls do not overwrite a result."""

    def on(self, threads: int, *inputs: Any) -> Outputs:
        """The runtime's outputs for ``inputs``, computed with ``threads`` intra-op threads."""


class Lanes:
    """Runs passes of ``runtime`` concurrently, with ``threads`` intra-op threads in total."""

    def __init__(self, runtime: Shared, threads: int) -> None:
        self._runtime, self._threads = runtime, threads
        self._pool = ThreadPoolExecutor(threads, "lane")

    def run(self, passes: Sequence[tuple[Any, ...]]) -> list[Outputs]:
        """The outputs of each pass, in the order of ``passes``. Returns or raises only after all passes have ended."""
        width = max(1, self._threads // len(passes))
        longest_first = sorted(range(len(passes)), key=lambda index: -passes[index][0].size)
        running = {index: self._pool.submit(self._runtime.on, width, *passes[index]) for index in longest_first}
        wait(running.values())
        return [running[index].result() for index in range(len(passes))]


def lanes(runtime: Runtime, threads: int) -> Lanes | None:
    """Lanes for a worker with ``threads`` intra-op threads; None if its passes have to run one after the other."""
    return Lanes(runtime, threads) if threads > 1 and isinstance(runtime, Shared) else None
