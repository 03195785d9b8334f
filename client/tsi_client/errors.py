"""The errors of a call. Every class is an ``Error``. A ``StatusError`` has the answer's status and the server's
message."""

from __future__ import annotations


class Error(Exception):
    """Base of all errors of this package."""


class ConnectionFailed(Error):
    """The server cannot be reached, or the connection ended before the answer. ``again``: another try may help."""

    def __init__(self, message: str, again: bool = False) -> None:
        super().__init__(message, again)  # the arguments, so that the error can be pickled
        self.again = again

    def __str__(self) -> str:
        return str(self.args[0])


class Timeout(Error):
    """The call's time was over before the answer was there."""


class TokenError(Error):
    """There is no token to send: a file is missing or holds none, or the server does not renew it."""


class BadAnswer(Error):
    """The status is a success, but the body is not the expected one."""


class StatusError(Error):
    """The server refused the request or failed. ``message`` is the server's own text. ``retry_after`` is in seconds;
    None if the server sent none."""

    def __init__(self, status: int, message: str, retry_after: float | None = None) -> None:
        super().__init__(status, message, retry_after)
        self.status, self.message, self.retry_after = status, message, retry_after

    def __str__(self) -> str:
        return f"{self.status}: {self.message}"


class BadRequest(StatusError):
    """A 4xx that has no class of its own: the message says what to change in the request."""


class Unauthorized(StatusError):
    """401 or 403: no token, or one that is wrong or has expired and could not be renewed."""


class NotFound(StatusError):
    """404: the server has no such model or version."""


class TooLarge(StatusError):
    """413: too many bytes, items, characters or pixels. The message names the limit."""


class Overloaded(StatusError):
    """503, also after the retries: the server has no room at this moment."""


class ServerError(StatusError):
    """Any other 5xx."""


CLASSES: dict[int, type[StatusError]] = {
    401: Unauthorized, 403: Unauthorized, 404: NotFound, 413: TooLarge, 503: Overloaded,
}  # fmt: skip


def of_status(status: int, message: str, retry_after: float | None) -> StatusError:
    """The error of an answer with that status."""
    return CLASSES.get(status, ServerError if status >= 500 else BadRequest)(status, message, retry_after)
