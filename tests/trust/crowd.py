"""Many clients of one worker: a slow archive, a stopped worker, a full queue."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.trust.place import Place, eventually
from tests.trust.raw import connection, head

PATH = "/predictions/null"
# An archive that takes five milliseconds for an answer.
SLOW = b"""
    def answer(self, batch, index, outputs, options):
        import time
        time.sleep(0.005)
        return []
"""


def post(token: str | None, body: bytes, content_type: str = "text/plain", *headers: str) -> bytes:
    """A request to the archive as bytes."""
    return head(PATH, token, f"Content-Type: {content_type}", f"Content-Length: {len(body)}", *headers) + body


def packed(token: str | None, body: bytes, content_type: str = "text/plain", coding: str = "gzip") -> bytes:
    """Like ``post``, for a body with a coding."""
    return post(token, body, content_type, f"Content-Encoding: {coding}")


@contextmanager
def busy(server: Place) -> Iterator[None]:
    """Meanwhile the model's worker has a request and answers nothing."""
    pid = server.worker("null")
    assert server.client.predict("null", b"hi", "text/plain").ok  # it has no request of an earlier test
    os.kill(pid, signal.SIGSTOP)
    try:
        with connection(server.config.inference) as first:
            first.sendall(post(server.client.token(), b"hi"))
            yield
    finally:
        os.kill(pid, signal.SIGCONT)


def queued(server: Place) -> int:
    """The number of requests in the queue, as TorchServe reports it."""
    return server.client.registration("null")["jobQueueStatus"]["pendingRequests"]


def fill(server: Place, stack: ExitStack, count: int) -> list[socket.socket]:
    """Connections whose requests wait in the queue, ``count`` of them.

    Each waits for the one before. The worker's thread takes the very first request out of the queue a moment after it
    came; until then it has a place.
    """
    socks = []
    for number in range(1, count + 1):
        socks.append(stack.enter_context(connection(server.config.inference)))
        socks[-1].sendall(post(server.client.token(), b"hi"))
        eventually(lambda number=number: queued(server) >= number)
    return socks
