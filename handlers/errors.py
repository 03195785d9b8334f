"""The errors of requests and archives.

A RequestError is a fault that the client can fix: it has an HTTP status, and its message says what to change. Any other
error during a request is a fault of the server: the answer is a 500, and the error is logged once.
"""

from __future__ import annotations

import traceback
from http import HTTPStatus


class RequestError(Exception):
    """The request cannot be answered as sent. ``str(error)`` is the sentence shown to the client."""

    status = HTTPStatus.BAD_REQUEST
    retry_after_s = 0  # the header Retry-After of a 503, in seconds


class TooLarge(RequestError):
    """The request asks for more than the archive's limits allow (items, characters, pixels)."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class NotAcceptable(RequestError):
    """The answer cannot have the type that the request's Accept asks for."""

    status = HTTPStatus.NOT_ACCEPTABLE


class UnsupportedMediaType(RequestError):
    """The body is of a type that this model does not read."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class OutOfMemory(RequestError):
    """The GPU has no memory left for this batch. Other processes may use that memory, so the client may try again."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    retry_after_s = 1


class Busy(RequestError):
    """The worker has no time left for this request in its batch. It would have time for the request alone."""

    status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class HookError(Exception):
    """A user's own handler broke its contract. The message names types and shapes, never a user's text."""


class ArchiveError(Exception):
    """The archive cannot be served here (wrong device, versions or files); the worker refuses to start."""


def traceback_of(error: BaseException) -> str:
    """The traceback of an error, for the log, without the error's message, which may quote a user's data."""
    return "".join(traceback.format_tb(error.__traceback__))
