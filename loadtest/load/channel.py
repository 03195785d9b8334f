"""Messages between the process that measures and its generator processes, over a pair of sockets.

Knows how a message is framed, not its content. Both ends belong to this program, so messages are pickled.
"""

from __future__ import annotations

import pickle
import socket
import struct
from typing import Any

LENGTH = struct.Struct("!Q")


class Channel:
    """One end. Only one greenlet at a time may send, and only one may receive."""

    def __init__(self, end: socket.socket) -> None:
        self._end, self._stream = end, end.makefile("rb")

    def send(self, message: Any) -> None:
        """Sends the whole message. Raises OSError when the other end is closed."""
        data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        self._end.sendall(LENGTH.pack(len(data)) + data)

    def receive(self) -> Any:
        """The next message. Raises EOFError when the other end is closed."""
        data = self._read(LENGTH.unpack(self._read(LENGTH.size))[0])
        return pickle.loads(data)

    def _read(self, count: int) -> bytes:
        try:
            data = self._stream.read(count)
        except OSError:
            data = b""
        if len(data) != count:
            raise EOFError("The other end of the channel is gone.")
        return data

    def close(self) -> None:
        """Closes the socket. The other end then reads the end of the stream."""
        self._stream.close()
        self._end.close()
