"""Errors of starting, stopping and calling the server. Each message says what to do."""

from __future__ import annotations


class ServingError(Exception):
    """The server cannot be started, stopped or reached."""


class RequestRefused(ServingError):
    """The server answered with an HTTP error; ``status`` and the server's own message are kept."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message
