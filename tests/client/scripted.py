"""A server that answers each request by a script, on a free port of loopback."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Step = Callable[[socket.socket], None]


class Scripted:
    """``heads`` are the heads of the received requests. The last step of the script is repeated."""

    def __init__(self, listener: socket.socket, steps: list[Step]) -> None:
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.heads: list[str] = []
        self._listener, self._steps = listener, steps

    def serve(self) -> None:
        with suppress(OSError):  # closed at the end
            while True:
                threading.Thread(target=self._answer, args=self._listener.accept()[:1], daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while head := read(connection):
                step = self._steps[min(len(self.heads), len(self._steps) - 1)]
                self.heads.append(head)
                step(connection)

    def tokens(self) -> list[str]:
        """The token of each request."""
        return [head.split("Authorization: Bearer ")[1].split("\r\n")[0] for head in self.heads]


def read(connection: socket.socket) -> str:
    """Reads a request; returns its head, empty when there is none."""
    received = b""
    while b"\r\n\r\n" not in received:
        if not (some := connection.recv(1 << 16)):
            return ""
        received += some
    head, _, body = received.partition(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-l")), 0
    )
    while len(body) < length:
        body += connection.recv(1 << 16)
    return head.decode()


def says(status: int, body: object = None, **headers: str) -> Step:
    """Answers with that status and JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return lambda connection: connection.sendall("\r\n".join([*lines, "", ""]).encode() + content)


def hangs_up(connection: socket.socket) -> None:
    """Ends the connection without an answer."""
    connection.close()


def stalls(connection: socket.socket) -> None:
    """Never answers."""
    connection.recv(1)


def trickles(start: bytes) -> Step:
    """Sends ``start`` and then a byte now and then, for 15 s."""

    def send(connection: socket.socket) -> None:
        connection.sendall(start)
        for _ in range(300):
            connection.sendall(b"x")
            time.sleep(0.05)

    return send


@contextmanager
def scripted(*steps: Step) -> Iterator[Scripted]:
    """A server with these steps, one per request."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = Scripted(listener, list(steps))
        threading.Thread(target=made.serve, daemon=True).start()
        yield made
        listener.shutdown(socket.SHUT_RDWR)
