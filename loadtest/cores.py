"""Keeps client and server on cores of their own where the machine has enough of them.

Knows Linux's affinity calls and how cores share hardware threads. A process passes its affinity on to what it starts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ENOUGH = 4  # below, a core of its own for the client would take a third or more of the server's


@dataclass(frozen=True)
class Split:
    """CPU numbers of the client and of the server; empty where they share all."""

    client: tuple[int, ...] = ()
    server: tuple[int, ...] = ()

    @property
    def statement(self) -> str:
        """What was done, for the report."""
        if not self.client:
            return "client and server shared all cores (fewer than 4, or no affinity here)"
        return f"client on CPU {_listed(self.client)}, server on CPU {_listed(self.server)}"


def _listed(cpus: tuple[int, ...]) -> str:
    return ", ".join(map(str, cpus))


def split(available: set[int], siblings: dict[int, set[int]]) -> Split:
    """The last physical core, with all its hardware threads, for the client; the others for the server."""
    if len(available) < ENOUGH:
        return Split()
    last = max(available)
    client = siblings.get(last, {last}) & available
    server = available - client
    return Split(tuple(sorted(client)), tuple(sorted(server))) if len(server) >= ENOUGH - 2 else Split()


def here() -> Split:
    """The split of the CPUs that this process may use."""
    if not hasattr(os, "sched_getaffinity"):
        return Split()
    available = os.sched_getaffinity(0)
    return split(available, {cpu: _siblings(cpu) for cpu in available})


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
    """Runs the block, and what it starts, on ``cpus``; on all when there are none."""
    if not cpus:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
