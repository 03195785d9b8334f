"""Gives client and server separate cores if the machine has enough of them.

Knows Linux's affinity calls and how cores share hardware threads. Child processes inherit the affinity.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ENOUGH = 4  # below, a core of its own for the client would take a third or more of the server's
SHARE_OF_CORES = 5  # one core in so many may be a generator's where nobody asked for more


@dataclass(frozen=True)
class Split:
    """CPU numbers of the client and of the server; empty if they share all CPUs."""

    client: tuple[int, ...] = ()
    server: tuple[int, ...] = ()
    apart: tuple[tuple[int, ...], ...] = ()  # the client's, by physical core: one for each of its processes

    @property
    def statement(self) -> str:
        """A description of the split, for the report."""
        if not self.client:
            return "client and server shared all cores (fewer than 4, or no affinity here)"
        processes = f" (up to {len(self.apart)} processes)" if len(self.apart) > 1 else ""
        return f"client on CPU {_listed(self.client)}{processes}, server on CPU {_listed(self.server)}"


def _listed(cpus: tuple[int, ...]) -> str:
    return ", ".join(map(str, cpus))


def physical(available: set[int], siblings: dict[int, set[int]]) -> list[tuple[int, ...]]:
    """The hardware threads of each physical core, the last core first."""
    return sorted({tuple(sorted(siblings.get(cpu, {cpu}) & available)) for cpu in available}, key=max, reverse=True)


def split(available: set[int], siblings: dict[int, set[int]], processes: int = 1) -> Split:
    """The client gets the last physical cores with all their hardware threads: one for each of its processes, at most
    half of all. The server gets the others."""
    if len(available) < ENOUGH:
        return Split()
    found = physical(available, siblings)
    apart = tuple(found[: max(1, min(processes, len(found) // 2))])
    client = {cpu for core in apart for cpu in core}
    server = available - client
    return Split(tuple(sorted(client)), tuple(sorted(server)), apart) if len(server) >= ENOUGH - 2 else Split()


def here(processes: int = 1) -> Split:
    """The split of the CPUs that this process may use, for a client of ``processes`` processes."""
    available, siblings = _available()
    return split(available, siblings, processes)


def usable() -> int:
    """The number of CPUs that this process may use."""
    return len(_available()[0]) or os.cpu_count() or 1


def room() -> int:
    """The largest default number of generator processes with a separate core each; 1 if client and server share."""
    return max(1, len(physical(*_available())) // SHARE_OF_CORES)


def _available() -> tuple[set[int], dict[int, set[int]]]:
    available = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    return available, {cpu: _siblings(cpu) for cpu in available}


def _siblings(cpu: int) -> set[int]:
    path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        parts = path.read_text().strip().split(",")
    except OSError:
        return {cpu}
    ranges = [(low, high or low) for low, _, high in (part.partition("-") for part in parts)]
    return {number for low, high in ranges for number in range(int(low), int(high) + 1)}


@contextmanager
def on(cpus: tuple[int, ...]) -> Iterator[None]:
    """Runs the block and its child processes on ``cpus``, or on all CPUs if ``cpus`` is empty."""
    if not cpus:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
