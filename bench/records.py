"""``python -m bench.records`` measures the cost of the request log and of traces: CPU time and latency per request.

It starts four servers of the archive ``null`` in MODEL_STORE: without both, with the log, with traces of all requests,
and with traces of one request in ten. It sends blocks of requests to each server in turn, over one connection. For each
block it measures the CPU time of the front end (which makes the records), of the worker and of the exporter, and the
median latency. ROUNDS and BLOCK are the numbers of blocks and of requests in a block. OUT is a file for the rows as
JSON.
"""

from __future__ import annotations

import http.client
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from export.progress import table
from loadtest.measure.provenance import machine
from serving.client import Client
from serving.config import ADDRESSES, GRPC_PORTS, Config
from serving.server import stop
from serving.state import RunDirectory

HEADER = ("server", "front end", "worker", "exporter", "median latency")
KINDS = ("front end", "worker", "exporter")
Sample = dict[str, float]


def main() -> int:
    """Returns the exit status."""
    rounds, block = int(os.environ.get("ROUNDS", "12")), int(os.environ.get("BLOCK", "2000"))
    with tempfile.TemporaryDirectory(prefix="records-") as scratch, ExitStack() as stack:
        folder, collector = Path(scratch), stack.enter_context(_collector())
        servers = {name: stack.enter_context(_server(folder / name.replace(" ", "-"), settings))
                   for name, settings in _settings(collector, folder).items()}  # fmt: skip
        found: dict[str, list[Sample]] = {name: [] for name in servers}
        for server in servers.values():
            server.send(block)  # warms up Java
        for _ in range(rounds):
            for name, server in servers.items():
                found[name].append(server.sample(block))
    medians = {name: {key: median(each[key] for each in of) for key in HEADER[1:]} for name, of in found.items()}
    print(f"{machine()['cpu']}: microseconds a request, medians of {rounds} blocks of {block}")
    print(table(HEADER, [[name, *(f"{row[key]:.1f}" for key in HEADER[1:])] for name, row in medians.items()]))
    if out := os.environ.get("OUT"):
        Path(out).write_text(json.dumps({"machine": machine(), "rows": medians}, indent=1) + "\n")
    return 0


def _settings(collector: str, folder: Path) -> dict[str, dict[str, str]]:
    traces = {"trace_endpoint": collector}
    return {
        "neither": {},
        "log": {"request_log": str(folder / "requests.jsonl")},
        "traces": {**traces, "trace_ratio": "1"},
        "traces of 10 %": {**traces, "trace_ratio": "0.1"},
    }


class _Server:
    def __init__(self, config: Config, run: RunDirectory) -> None:
        state = run.read()
        assert state is not None
        self._processes = {_kind(each): each for each in state.processes()}
        token = Client(config, run.key_file).token()
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "text/plain"}
        self._connection = http.client.HTTPConnection(config.inference.removeprefix("http://"))

    def sample(self, requests: int) -> Sample:
        """Sends ``requests`` requests. Returns microseconds per request."""
        before, times = self._used(), self.send(requests)
        time.sleep(1)  # the processes still work after the last answer
        used = {kind: (now - before[kind]) / requests * 1e6 for kind, now in self._used().items()}
        return {**used, "median latency": median(times) * 1e6}

    def send(self, requests: int) -> list[float]:
        """Sends ``requests`` requests. Returns the seconds that each took."""
        return [self._ask() for _ in range(requests)]

    def _ask(self) -> float:
        began = time.perf_counter()
        self._connection.request("POST", "/predictions/null", b"x", self._headers)
        reply = self._connection.getresponse()
        if not reply.read() or reply.status != 200:
            raise RuntimeError(f"The server answers {reply.status}")
        return time.perf_counter() - began

    def _used(self) -> Sample:
        times = {kind: self._processes[kind].cpu_times() for kind in KINDS if kind in self._processes}
        return {kind: times[kind].user + times[kind].system if kind in times else 0.0 for kind in KINDS}


def _kind(process: psutil.Process) -> str:
    command = " ".join(process.cmdline())
    return "front end" if process.name() == "java" else "exporter" if "tracing/export.py" in command else "worker"


@contextmanager
def _server(folder: Path, settings: dict[str, str]) -> Iterator[_Server]:
    folder.mkdir()
    properties = {**Config.load().properties, **_ports(), **settings}
    config = folder / "config.properties"
    config.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
    environment = {**os.environ, "CONFIG": str(config), "RUN_DIR": str(folder / "run"), "MODELS": "null"}
    command, run = [sys.executable, "-m", "serving", "serve"], RunDirectory(folder / "run")
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    try:
        yield _Server(Config.load(config), run)
    finally:
        stop(run, at_once=True)


def _ports() -> dict[str, str]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in (*ADDRESSES, *GRPC_PORTS)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        ports = [each.getsockname()[1] for each in sockets]
    http_ports = {key: f"http://127.0.0.1:{port}" for key, port in zip(ADDRESSES, ports, strict=False)}
    return http_ports | {key: str(port) for key, port in zip(GRPC_PORTS, ports[len(ADDRESSES) :], strict=True)}


@contextmanager
def _collector() -> Iterator[str]:
    """The URL of a process that accepts spans and discards them."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_collect, args=(there,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()


def _collect(told: Any) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        told.send(server.server_address[1])
        server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
