"""Errors typed by blame: everything here is the client's, carries a 4xx and names the cure.

Anything else raised while a request is served is ours: it is answered with a 500 and logged once.
"""

from __future__ import annotations

from http import HTTPStatus


class RequestError(Exception):
    """The request cannot be answered as sent. ``str(error)`` is the sentence shown to the client."""

    status = HTTPStatus.BAD_REQUEST


class TooLarge(RequestError):
    """The request asks for more than the archive's limits allow (items, characters, pixels)."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class UnsupportedMediaType(RequestError):
    """The body is of a type that this model does not read."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class ArchiveError(Exception):
    """The archive cannot be served here (wrong device, versions or files); the worker refuses to start."""
