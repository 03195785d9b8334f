"""Requests as bytes on a socket, which no HTTP library would send, and the end of the connection."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """The first answer on a connection, and how that ended: "closed", "reset", or "open" when nothing more came."""

    status: int
    headers: dict[str, str]
    body: bytes
    end: str

    def json(self) -> dict[str, Any]:
        """The body as JSON."""
        return json.loads(self.body)


@contextmanager
def connection(base: str, source: str = "127.0.0.1") -> Iterator[socket.socket]:
    """A connection to the API at ``base`` from that loopback address."""
    parts = urlsplit(base)
    with socket.create_connection((parts.hostname, parts.port), timeout=30, source_address=(source, 0)) as made:
        yield made


def head(path: str, token: str | None, *headers: str, method: str = "POST") -> bytes:
    """A request's head, up to its blank line."""
    access = [] if token is None else [f"Authorization: Bearer {token}"]
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *access, *headers, "", ""]).encode()


def ask(base: str, request: bytes, quiet_s: float = 0.2, source: str = "127.0.0.1") -> Answer:
    """Sends the whole request, even if the server answers meanwhile. Reads until the end, or until nothing more
    comes."""
    with connection(base, source) as sock:
        try:
            sock.sendall(request)
        except OSError:
            return Answer(0, {}, b"", "reset")
        return receive(sock, quiet_s)


def receive(sock: socket.socket, quiet_s: float = 0.2) -> Answer:
    """Reads the answer: waits for its first byte, and then until nothing comes for ``quiet_s`` seconds."""
    received, end = b"", "closed"
    try:
        while piece := sock.recv(65536):
            received += piece
            sock.settimeout(quiet_s)
    except TimeoutError:
        end = "open"
    except OSError:
        end = "reset"
    start, _, body = received.partition(b"\r\n\r\n")
    lines = start.decode("latin-1").split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
    status = int(lines[0].split()[1]) if received else 0
    return Answer(status, {name.lower(): value for name, value in fields.items()}, body, end)
