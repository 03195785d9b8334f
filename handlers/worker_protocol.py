"""The socket protocol between TorchServe's front end and its Python worker, read through a buffer.

TorchServe 0.12's worker reads each length and each field with a ``recv`` of its own, about 50 system calls for a
request with eight headers, and copies each field twice. Here one ``recv`` takes what the socket holds. The messages are
the same, field by field: tests/handlers/test_worker_protocol.py compares them with those that TorchServe's own reader
returns.

A message is: one byte of command; for each request its id, its headers and its parameters; -1. A field is four bytes of
length, big-endian, and the bytes. A list of headers or parameters ends with -1.
"""

from __future__ import annotations

import logging
import socket
import struct
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

logger = logging.getLogger(__name__)

WORKER = "model_service_worker.py"  # the file that TorchServe runs as a worker
PREDICT = b"I"
READ_SIZE = 1 << 16  # bytes asked of the socket at once
_INT = struct.Struct("!i")


class Reader:
    """Reads messages from the socket of one front end.

    Logs no line per request, as TorchServe's reader does: each is a pipe, a regular expression and a write to a file.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._held = bytearray()  # received
        self._at = 0  # of these, taken

    def message(self) -> tuple[bytes, list[dict[str, Any]]]:
        """(command, requests) of the next message, as ts.protocol.otf_message_handler.retrieve_msg returns them.

        Raises ValueError for a command that is not a prediction, and SystemExit when the front end has gone.
        """
        command = bytes(self._take(1))
        if command != PREDICT:
            raise ValueError(f"Invalid command: {command!r}")
        requests = []
        while (length := self._int()) != -1:
            identity = self._take(length)
            requests.append({"requestId": identity, "headers": self._headers(), "parameters": self._parameters()})
        del self._held[: self._at]  # bodies may be large, and the next message may be long in coming
        self._at = 0
        return command, requests

    def _headers(self) -> list[dict[str, bytearray]]:
        found = []
        while (length := self._int()) != -1:
            name = self._take(length)
            found.append({"name": name, "value": self._take(self._int())})
        return found

    def _parameters(self) -> list[dict[str, Any]]:
        found = []
        while (length := self._int()) != -1:
            name = self._take(length).decode()
            content_type = self._take(self._int()).decode()
            found.append({"name": name, "contentType": content_type, "value": self._take(self._int())})
        return found

    def _int(self) -> int:
        at = self._at
        if len(self._held) - at < 4:
            self._receive(4)
        self._at = at + 4
        return int(_INT.unpack_from(self._held, at)[0])

    def _take(self, length: int) -> bytearray:
        at = self._at
        if len(self._held) - at < length:
            self._receive(length)
        self._at = at + length
        return self._held[at : at + length]

    def _receive(self, wanted: int) -> None:
        """Receives until ``wanted`` bytes are held that were not taken."""
        while (missing := wanted - (len(self._held) - self._at)) > 0:
            received = self.connection.recv(max(READ_SIZE, missing))
            if not received:
                logger.info("The front end has gone.")
                sys.exit(0)
            self._held += received


def install(program: ModuleType) -> bool:
    """Has ``program``, if it is TorchServe's worker, read through a buffer from its next message on.

    The next message has not been sent at that time, since the front end waits for the answer to the load that is
    running. So nothing that TorchServe's reader left behind is lost. Returns whether it was done. A worker that is
    built otherwise than we know keeps its own reader, and a line in its log says so; another program is left alone.
    """
    if Path(getattr(program, "__file__", None) or "").name != WORKER:
        return False
    if not callable(getattr(program, "retrieve_msg", None)):
        logger.warning("This TorchServe's worker has no retrieve_msg: it keeps its own, slower reader.")
        return False
    readers: dict[int, Reader] = {}  # by id of the connection: a worker has one at a time

    def retrieve_msg(connection: socket.socket) -> tuple[bytes, list[dict[str, Any]]]:
        reader = readers.get(id(connection))
        if reader is None or reader.connection is not connection:
            readers.clear()
            reader = readers[id(connection)] = Reader(connection)
        return reader.message()

    program.retrieve_msg = retrieve_msg  # type: ignore[attr-defined]
    return True
