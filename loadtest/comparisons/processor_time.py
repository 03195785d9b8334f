"""The processor time of a server, by kind of thread. Knows Linux's /proc and the names of threads."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import psutil

from loadtest.measure.servers import Server

TICK_S = 1 / os.sysconf("SC_CLK_TCK")

# The beginnings of thread names in Java. Linux keeps 15 characters of a name.
JAVA = {
    "epollEventLoop": "Java: sockets",
    "W-": "Java: a worker's thread",
    "GC ": "Java: memory",
    "G1 ": "Java: memory",
    "VM ": "Java: memory",
    "C1 ": "Java: compiler",
    "C2 ": "Java: compiler",
}
OTHER, MAIN, MORE = "Java: others", "worker: main thread", "worker: other threads"
KINDS = (*dict.fromkeys(JAVA.values()), OTHER, MAIN, MORE)


@dataclass(frozen=True)
class Spent:
    """Seconds of processor time that the threads of a server have used so far, each with its kind (KINDS)."""

    by_thread: dict[Path, tuple[str, float]]

    @classmethod
    def of(cls, server: Server) -> Spent:
        """The processor time of a server that we started."""
        assert server.state is not None
        found = [(each, process) for process in server.state.processes() for each in _threads(process)]
        return cls({thread: (_kind(process, thread), _seconds(thread)) for thread, process in found})

    def since(self, before: Spent) -> dict[str, float]:
        """Seconds by kind since ``before``, for the threads that still run."""
        spent: dict[str, float] = defaultdict(float)
        for thread, (kind, seconds) in self.by_thread.items():
            spent[kind] += max(0.0, seconds - before.by_thread.get(thread, (kind, 0.0))[1])
        return spent


def _threads(process: psutil.Process) -> list[Path]:
    try:
        return list(Path(f"/proc/{process.pid}/task").iterdir())
    except OSError:  # it ended meanwhile
        return []


def _kind(process: psutil.Process, thread: Path) -> str:
    if process.pid == int(thread.name):
        return MAIN if process.name().startswith("python") else OTHER
    if process.name() != "java":
        return MORE
    try:
        name = (thread / "comm").read_text()
    except OSError:  # it ended meanwhile
        return OTHER
    return next((kind for start, kind in JAVA.items() if name.startswith(start)), OTHER)


def _seconds(thread: Path) -> float:
    try:
        fields = (thread / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) * TICK_S  # utime and stime, the 14th and 15th field of proc(5)
