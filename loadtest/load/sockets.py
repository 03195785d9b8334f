"""Sockets that note when a request left and when its answer came, beside the client that reads them in its own time.

One thread serves all users: an answer may wait for the client to be done with others, and building requests and
reading answers takes it a tenth of a millisecond each. None of that is the server's time.
"""

from __future__ import annotations

import socket
import time
from typing import Any

import gevent.socket
from gevent import get_hub
from geventhttpclient.connectionpool import ConnectionPool


class TimedSocket(gevent.socket.socket):
    """``sent``: when the latest request began to leave; ``came``: when bytes of an answer last came (s since 1970)."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.sent = self.came = 0.0
        self._asking = False

    def sendall(self, *arguments: Any) -> None:
        """Sends the bytes; the first since an answer are the beginning of a request, and are noted."""
        if not self._asking:
            self._asking, self.sent = True, time.time()
        super().sendall(*arguments)

    def recv(self, *arguments: Any) -> bytes:
        """Receives bytes of an answer, and notes when they came."""
        loop = get_hub().loop
        before = loop.now()
        data = super().recv(*arguments)
        # The loop's clock stands still while it serves whom it found ready: had the bytes to be waited for, it tells
        # when they were there. Otherwise they came at some time since the loop last looked.
        turn = loop.now()
        self._asking, self.came = False, turn if turn != before else time.time()
        return data


def note_times() -> None:
    """Makes every connection of geventhttpclient a ``TimedSocket``, kept as its pool's ``timed``; those of TLS are not.

    The two are hooks that it leaves open to be overridden.
    """

    def create(self: ConnectionPool, family: int, socktype: int, protocol: int) -> TimedSocket:
        return TimedSocket(family, socktype, protocol)

    def after_connect(self: Any, sock: Any) -> None:
        # Without it the tail of a large body waits for the ACK of what went before.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.timed = sock if isinstance(sock, TimedSocket) else None

    ConnectionPool._create_tcp_socket = create  # type: ignore[method-assign]  # hooks, as said above
    ConnectionPool.after_connect = after_connect  # type: ignore[method-assign]
