"""Sockets that record when a request left and when its answer came, independently of when the client reads the answer.

One thread serves all users. An answer may wait until the client has read others, and the client takes a tenth of a
millisecond to build a request or to read an answer. None of this is the server's time.
"""

from __future__ import annotations

import socket
import time
from typing import Any

import gevent.socket
from gevent import get_hub
from geventhttpclient.connectionpool import ConnectionPool


class TimedSocket(gevent.socket.socket):
    """``sent``: when the last request began to leave. ``came``: when bytes of an answer last came (s since 1970)."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.sent = self.came = 0.0
        self._asking = False

    def sendall(self, *arguments: Any) -> None:
        """Sends the bytes. The first bytes after an answer begin a request, so their time is recorded."""
        if not self._asking:
            self._asking, self.sent = True, time.time()
        super().sendall(*arguments)

    def recv(self, *arguments: Any) -> bytes:
        """Receives bytes of an answer, and records when they came."""
        loop = get_hub().loop
        before = loop.now()
        data = super().recv(*arguments)
        # The loop's clock is that of its last poll. If this call had to wait for the bytes, the clock is the time at
        # which they arrived. Otherwise they arrived at an unknown time since the last poll.
        turn = loop.now()
        self._asking, self.came = False, turn if turn != before else time.time()
        return data


def note_times() -> None:
    """Makes every connection of geventhttpclient without TLS a ``TimedSocket``, kept as its pool's ``timed``.

    The two functions override hooks of geventhttpclient.
    """

    def create(self: ConnectionPool, family: int, socktype: int, protocol: int) -> TimedSocket:
        return TimedSocket(family, socktype, protocol)

    def after_connect(self: Any, sock: Any) -> None:
        # Without TCP_NODELAY, the last bytes of a large body wait for the ACK of the bytes before.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.timed = sock if isinstance(sock, TimedSocket) else None

    ConnectionPool._create_tcp_socket = create  # type: ignore[method-assign]  # hooks, as said above
    ConnectionPool.after_connect = after_connect  # type: ignore[method-assign]
