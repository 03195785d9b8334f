"""Reads and writes the messages between TorchServe's front end and its Python worker.

TorchServe 0.12's worker calls ``recv`` for each length and each field, about 50 system calls for a request with eight
headers, and copies each field twice. Here one ``recv`` reads all bytes that the socket has, and an answer is written at
once. The bytes are the same: tests/handlers/test_worker_protocol.py compares them with TorchServe's.

A message has one byte for the command, then the id, headers and parameters of each request, then -1. A field has its
length in four bytes, big-endian, and its bytes. A list of headers or parameters ends with -1.
"""

from __future__ import annotations

import logging
import socket
import struct
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

logger = logging.getLogger(__name__)

PREDICT = b"I"
READ_SIZE, MOST_READ = 1 << 16, 1 << 20  # smallest and largest argument of recv, in bytes
_INT = struct.Struct("!i")
_END = _INT.pack(-1)


@dataclass(slots=True)
class Received:
    """One request. ``headers`` has the HTTP headers, and the content type of each parameter under the parameter's name.
    ``inputs`` has the bytes of each parameter."""

    identity: bytes
    headers: dict[str, Any]
    inputs: dict[str, bytes]


class Answered(Protocol):
    """Status and headers of an answer; the interface of TorchServe's RequestProcessor."""

    def get_response_status_code(self) -> int:
        """The HTTP status code."""

    def get_response_status_phrase(self) -> str | None:
        """The reason phrase, or None."""

    def get_response_headers(self) -> dict[str, str]:
        """The response headers."""


class Incomplete(Exception):
    """The request is not complete. At least ``until`` bytes of data are needed."""

    def __init__(self, until: int) -> None:
        self.until = until


class Reader:
    """Reads messages from the socket of one front end.

    Unlike TorchServe's reader, it logs no line per request: each line would cost a write to a pipe, a regular
    expression and a write to a file.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._held = b""  # the received bytes
        self._at = 0  # the number of these that were parsed

    def message(self) -> tuple[bytes, list[Received]]:
        """(command, requests) of the next message.

        Raises ValueError for a command that is not a prediction, and SystemExit when the front end has gone.
        """
        if not self._held:
            self._receive(1)
        command = self._held[self._at : self._at + 1]
        if command != PREDICT:
            raise ValueError(f"Invalid command: {command!r}")
        self._at += 1
        found = []
        while (request := self._request()) is not None:
            found.append(request)
        self._held, self._at = self._held[self._at :], 0  # frees the bodies while the worker waits
        return command, found

    def _request(self) -> Received | None:
        while True:
            try:
                request, self._at = parsed(self._held, self._at)
                return request
            except Incomplete as incomplete:
                self._receive(incomplete.until)

    def _receive(self, until: int) -> None:
        """Receives until ``self._held`` has ``until`` bytes, and drops the parsed bytes."""
        pieces, missing = [self._held[self._at :]], until - len(self._held)
        self._at = 0
        while missing > 0:
            received = self.connection.recv(min(max(READ_SIZE, missing), MOST_READ))
            if not received:
                logger.info("The front end has gone.")
                sys.exit(0)
            pieces.append(received)
            missing -= len(received)
        self._held = b"".join(pieces)


def parsed(data: bytes, at: int) -> tuple[Received | None, int]:
    """(the request that begins at ``at``, its end). The request is None at the end of a message. Raises Incomplete.

    For speed, fields are not read by a function. A field that is cut off is noticed when the next length is read.
    """
    size = _INT.unpack_from
    headers: list[bytes] = []
    parameters: list[bytes] = []
    try:
        (length,) = size(data, at)
        at += 4
        if length == -1:
            return None, at
        identity = data[at : at + length]
        at += length
        for fields, each in ((headers, 2), (parameters, 3)):
            while True:
                (length,) = size(data, at)
                at += 4
                if length == -1:
                    break
                fields.append(data[at : at + length])
                at += length
                for _ in range(each - 1):
                    (length,) = size(data, at)
                    at += 4
                    fields.append(data[at : at + length])
                    at += length
    except struct.error:
        raise Incomplete(at + 4) from None
    return _request(identity, headers, parameters), at


def _request(identity: bytes, headers: Sequence[bytes], parameters: Sequence[bytes]) -> Received:
    """Builds a request as ts.service.Service.retrieve_data_for_inference does: a header replaces the content type of a
    parameter with the same name."""
    inputs: dict[str, bytes] = {}
    found: dict[str, Any] = {}
    for index in range(0, len(parameters), 3):
        name = parameters[index].decode()
        inputs[name] = parameters[index + 2]
        found[name] = {"content-type": parameters[index + 1].decode()}
    for index in range(0, len(headers), 2):
        found[headers[index].decode()] = headers[index + 1].decode()
    return Received(identity, found, inputs)


def answers(identities: Iterable[bytes], answered: Iterable[Answered], bodies: Iterable[bytes]) -> bytes:
    """The message that answers a batch."""
    parts = [_INT.pack(200), _field(b"Prediction success")]
    for identity, each, body in zip(identities, answered, bodies, strict=True):
        headers = each.get_response_headers()
        parts += (
            _field(identity),
            _text(headers.get("content-type", "")),
            _INT.pack(each.get_response_status_code()),
            _text(each.get_response_status_phrase() or ""),
            _INT.pack(len(headers)),
            *[_text(name) + _text(value) for name, value in headers.items()],
            _INT.pack(len(body)),
            body,
        )
    return b"".join((*parts, _END))


def failure(identities: Iterable[bytes], code: int, message: str) -> bytes:
    """The message that answers each request of a batch with ``code``."""
    head, tail = _INT.pack(code) + _text(message), _text("") + _INT.pack(code) + _text("") + _INT.pack(0)
    return head + b"".join(_field(each) + tail + _field(b"error") for each in identities) + _END


def _field(value: bytes) -> bytes:
    return _INT.pack(len(value)) + value


@lru_cache(maxsize=1024)  # header names, and values that many answers share
def _text(value: str) -> bytes:
    return _field(value.encode())
