"""Errors typed by blame: what the client can do something about carries its status and names the cure.

Anything else raised while a request is served is ours: it is answered with a 500 and logged once.
"""

from __future__ import annotations

import traceback
from http import HTTPStatus


class RequestError(Exception):
    """The request cannot be answered as sent. ``str(error)`` is the sentence shown to the client."""

    status = HTTPStatus.BAD_REQUEST
    retry_after_s = 0  # of a 503: when the same request may succeed


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
    """The GPU's memory does not hold this batch; whose fault that is depends on what else lies there."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    retry_after_s = 1


class Busy(RequestError):
    """The worker has no time for this request beside the others of its batch; it would have alone."""

    status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class HookError(Exception):
    """A user's own handler broke its contract. The message names types and shapes, never a user's text."""


class ArchiveError(Exception):
    """The archive cannot be served here (wrong device, versions or files); the worker refuses to start."""


def places(error: BaseException) -> str:
    """Where an error arose, for the log; not its message, which may quote what a user sent."""
    return "".join(traceback.format_tb(error.__traceback__))
