"""A separate program: a fake server that stalls once, loaded in an open or a closed loop. Prints latencies as JSON.

``python -m tests.loadtest.stalling open|closed``. It is separate from the tests, since Locust patches the process that
imports it. ``serve`` (with a port, and for TLS a file with a key and its certificate) is only the server and never
stalls. ``crowd`` has a server that answers all requests together, like a batch, and users who read slowly. ``two-open``
and ``two-closed`` load a healthy server from two processes and also print the results of each.
"""

from __future__ import annotations

import locust  # noqa: F401 - before anything that it patches

# isort: split
import json
import subprocess
import sys
import time

import gevent
from gevent.monkey import get_original
from gevent.server import StreamServer

from loadtest import stats
from loadtest.load import arrivals, rows
from loadtest.load.crew import Crew, Several
from loadtest.load.engine import ClosedLoop, OpenLoop
from loadtest.load.golden import Golden
from loadtest.load.rows import Columns
from loadtest.load.target import Target, Token
from loadtest.measure.trial import Rule, measure

RATE, SECONDS, STALL_AT_S, STALL_S, ANSWER_S = 100, 3.0, 1.0, 1.0, 0.002


class Fake:
    """Answers after 2 ms. Requests during the stall of one second wait for its end. Every 7th answer is wrong.

    A ``healthy`` server neither stalls nor gives wrong answers. With ``tick``, in seconds, it answers at the next
    multiple of this time. After ``sound_for`` answers it fails.
    """

    def __init__(self, healthy: bool = False, tick: float = 0.0, sound_for: float = float("inf")) -> None:
        self.sound_for = sound_for
        self.began, self.answered, self.healthy, self.tick = time.monotonic(), 0, healthy, tick

    def __call__(self, connection, address):
        stream = connection.makefile("rb")
        while read_request(stream):
            now = time.monotonic() - self.began
            stalled = not self.healthy and STALL_AT_S <= now < STALL_AT_S + STALL_S
            answer_s = self.tick - now % self.tick if self.tick else ANSWER_S
            gevent.sleep(STALL_AT_S + STALL_S - now if stalled else answer_s)
            self.answered += 1
            right = self.healthy or self.answered % 7
            if self.answered > self.sound_for:
                connection.sendall(b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n")
                continue
            # In one packet, since a second packet would wait for a delayed ACK.
            connection.sendall(answer(b'{"predictions": []}' if right else b'{"predictions": [1]}'))


def read_request(stream) -> bool:
    """Reads one request. False if the client has closed the connection."""
    length, line = 0, stream.readline()
    while line not in (b"\r\n", b""):
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
        line = stream.readline()
    return bool(line) and len(stream.read(length)) == length


def answer(body: bytes) -> bytes:
    """A response with TorchServe's and our handlers' headers."""
    headers = f"Content-Length: {len(body)}\r\nx-preprocess-ms: 0.100\r\nx-inference-ms: 1.500\r\n"
    return f"HTTP/1.1 200 OK\r\n{headers}x-postprocess-ms: 0.050\r\nx-batch-size: 1\r\n\r\n".encode() + body


def serve(port: str, certificate: str = "", tick: str = "0", sound_for: str = "inf") -> None:
    """Serves until it is ended; prints its address first."""
    tls = {"certfile": certificate} if certificate else {}
    server = StreamServer(("127.0.0.1", int(port)), Fake(True, float(tick), float(sound_for)), **tls)
    server.start()
    print(f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


def crowd() -> None:
    """Loads with eight users, who are answered together every 200 ms. Each takes 10 ms of the one thread of all
    users."""
    command = [sys.executable, "-m", "tests.loadtest.stalling", "serve", "0", "", "0.2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        target = Target(server.stdout.readline().strip(), "null", Token(lambda: "token"))
        load = ClosedLoop(target, 8)
        load._environment.events.request.add_listener(lambda **_: get_original("time", "sleep")(0.01))
        load.start()
        gevent.sleep(SECONDS)
        load.stop()
        server.terminate()
    report(load, len(load.recorder.rows))


def two(kind: str) -> None:
    """Loads with two generator processes. The server runs in this process and counts its answers."""
    fake, parts, keep, scheduled = Fake(healthy=True), [[], []], Several._keep, kind == "two-open"

    def noted(load, taken):
        for part, new in zip(parts, taken, strict=True):
            part += new
        keep(load, taken)

    Several._keep = noted
    server = StreamServer(("127.0.0.1", 0), fake)
    server.start()
    target = Target(f"http://127.0.0.1:{server.server_port}", "null", Token(lambda: "token"), check_every=1)
    target.golden = Golden("null", {payload.name: {"predictions": []} for payload in target.payloads})
    schedule = arrivals.poisson(300, 1.5, seed=1)
    with Crew(2, asked=True) as crew:
        load = crew.open(target, schedule) if scheduled else crew.closed(target, 3)
        seen = measure(load, Rule(0.5, 2, 1, fixed=True), schedule if scheduled else None)
    server.stop()
    latency = Columns.of(seen.rows).latency
    print(json.dumps({
        "answered": fake.answered, "processes": seen.processes, "cpu": seen.client_cpu,
        "errors": sorted({row.error for row in seen.rows}), "checked": sum(row.checked for row in seen.rows),
        "rows": [rows.to_list(row) for row in rows.merge([seen.rows])],
        "parts": [[rows.to_list(row) for row in part] for part in parts],
        "due": (seen.begin_us + schedule).tolist() if scheduled else [],
        "latency_us": {q: stats.percentile(latency, q) for q in (50, 99)},
    }))  # fmt: skip


def main(kind: str) -> None:
    """Loads the fake server for three seconds; in the open loop over one connection, as from one slow upstream."""
    fake = Fake()
    server = StreamServer(("127.0.0.1", 0), fake)
    server.start()
    target = Target(f"http://127.0.0.1:{server.server_port}", "null", Token(lambda: "token"), check_every=1)
    target.golden = Golden("null", {payload.name: {"predictions": []} for payload in target.payloads})
    schedule = arrivals.constant(RATE, SECONDS)
    load = OpenLoop(target, schedule, connections=1) if kind == "open" else ClosedLoop(target, 1)
    fake.began = time.monotonic()
    load.start()
    gevent.sleep(SECONDS + 1)
    load.stop()
    server.stop()
    report(load, fake.answered)


def report(load: ClosedLoop | OpenLoop, answered: int) -> None:
    """Prints what the load recorded."""
    columns = Columns.of(load.recorder.rows)
    latency, service = columns.latency, columns.service
    print(json.dumps({
        "requests": len(load.recorder.rows), "answered": answered,
        "latency_ms": {q: stats.percentile(latency, q) / 1e3 for q in (50, 90, 99)},
        "service_ms": {q: stats.percentile(service, q) / 1e3 for q in (50, 90, 99)},
        "errors": sorted({row.error for row in load.recorder.rows}),
        "wrong": sum(row.error == "wrong answer" for row in load.recorder.rows),
        "inference_us": sorted({row.inference_us for row in load.recorder.rows}),
    }))  # fmt: skip


if __name__ == "__main__":
    kinds = {"serve": lambda: serve(*sys.argv[2:]), "crowd": crowd}
    kinds |= {kind: lambda: two(sys.argv[1]) for kind in ("two-open", "two-closed")}
    kinds.get(sys.argv[1], lambda: main(sys.argv[1]))()
