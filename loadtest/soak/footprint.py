"""Samples a server under load: memory, descriptors and threads of each process, and the bytes of its log files.

Knows processes and files. Gives no verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gevent
import psutil

from loadtest.load.users import now_us
from loadtest.measure.servers import Server
from loadtest.soak.verdict import Sample
from serving.state import RunDirectory

CONNECTIONS = (psutil.CONN_ESTABLISHED,)


@dataclass(frozen=True)
class Footprint:
    """The processes of a server by name, and the folder of its logs."""

    processes: dict[str, psutil.Process]
    logs: Path

    @classmethod
    def of(cls, server: Server) -> Footprint:
        """The footprint of a server that we started: Java and the first worker of each archive."""
        assert server.client is not None and server.state is not None
        workers = {name: psutil.Process(int(server.client.workers(name)[0]["pid"])) for name in server.digests}
        return cls({"java": psutil.Process(server.state.pid), **workers}, RunDirectory.default().logs)

    def sample(self) -> list[Sample]:
        """A sample of all processes now. A process that has ended is left out, and the verdict reports it."""
        size, found = log_bytes(self.logs), []
        for name, process in self.processes.items():
            try:
                with process.oneshot():
                    found.append(Sample(now_us(), name, process.memory_info().rss, _files(process),
                                        process.num_threads(), size))  # fmt: skip
            except psutil.Error:
                continue
        return found


def _files(process: psutil.Process) -> int:
    connected = sum(each.status in CONNECTIONS for each in process.net_connections("tcp"))
    return process.num_fds() - connected


def log_bytes(folder: Path) -> int:
    """The bytes of all files in the folder."""
    return sum(path.stat().st_size for path in folder.glob("*") if path.is_file())


class Sampler:
    """Adds to ``samples`` every ``every_s`` seconds, from entry to exit."""

    def __init__(self, footprint: Footprint, every_s: float) -> None:
        self._footprint, self._every_s = footprint, every_s
        self.samples: list[Sample] = []

    def __enter__(self) -> Sampler:
        self._greenlet = gevent.spawn(self._run)
        return self

    def __exit__(self, *_: object) -> None:
        self._greenlet.kill()

    def _run(self) -> None:
        while True:
            self.samples += self._footprint.sample()
            gevent.sleep(self._every_s)
