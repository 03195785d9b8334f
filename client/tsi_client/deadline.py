"""One limit for the whole time of a call: waiting, renewing a token, sending and receiving.

HTTP libraries limit each wait for the network. A server that sends a byte now and then would keep such a call open for
ever. An async call is cancelled from outside. In a sync call, ``limit`` shortens each wait to the time that is left.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable
from typing import Any

import httpcore2
import httpx2

PIECE = 1 << 16  # bytes per write; the deadline is checked after each, since a server may read slowly


class Deadline:
    """An instant, ``seconds`` from now."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self._at = seconds, time.monotonic() + seconds

    def left(self) -> float:
        """Seconds that are left; 0 or less when the time is over."""
        return self._at - time.monotonic()

    def timeouts(self) -> dict[str, float]:
        """The limit of each wait, in the form of httpx's request extension."""
        return dict.fromkeys(("connect", "read", "write", "pool"), _Left(self))


class _Left(float):
    """The seconds left, as a float. It also has the deadline, so that ``_now`` can ask again later."""

    deadline: Deadline

    def __new__(cls, deadline: Deadline) -> _Left:
        made = super().__new__(cls, max(deadline.left(), 0.001))
        made.deadline = deadline
        return made


def _now(timeout: float | None) -> float | None:
    """``timeout``, or the seconds that are left now. Never 0: a socket takes 0 for "do not wait"."""
    return max(timeout.deadline.left(), 0.001) if isinstance(timeout, _Left) else timeout


class _Stream(httpcore2.NetworkStream):
    """A connection whose every read and write ends with the call's time."""

    def __init__(self, inner: httpcore2.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _now(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), PIECE):
            self._inner.write(buffer[start : start + PIECE], _now(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, _now(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Backend(httpcore2.NetworkBackend):
    """Opens connections of the class ``_Stream``."""

    def __init__(self, inner: httpcore2.NetworkBackend) -> None:
        self._inner = inner

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:  # fmt: skip
        return _Stream(self._inner.connect_tcp(host, port, _now(timeout), local_address, socket_options))


def limit(client: httpx2.Client) -> httpx2.Client:
    """Makes the client's connections end with the call's time, and returns the client. httpx has no public setting for
    its network backend. A version without these private attributes limits only each single wait."""
    for transport in (client._transport, *client._mounts.values()):
        pool: Any = getattr(transport, "_pool", None)
        if hasattr(pool, "_network_backend"):
            pool._network_backend = _Backend(pool._network_backend)
    return client
