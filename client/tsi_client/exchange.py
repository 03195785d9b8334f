"""The steps of a call, for both clients. Each step depends on the result of the step before.

A call is a generator. It yields steps and gets their results. The sync client runs the steps; the async client awaits
them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tsi_client.deadline import Deadline
from tsi_client.errors import ConnectionFailed
from tsi_client.reply import Reply
from tsi_client.retries import backoff, reconnect
from tsi_client.tokens import FixedToken, TokenSource

NO_ROOM = 503


@dataclass(frozen=True)
class Call:
    """A user's request. ``timeout`` is the limit in seconds for the whole call; None stands for the client's own."""

    method: str
    path: str
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] | None = None
    timeout: float | None = None
    retried: bool = True


@dataclass(frozen=True)
class Send:
    """Sends the call with this token; returns a Reply, or raises ConnectionFailed or Timeout."""

    call: Call
    token: str | None
    deadline: Deadline


@dataclass(frozen=True)
class Wait:
    """Waits for this number of seconds."""

    seconds: float


@dataclass(frozen=True)
class Ask:
    """Calls a function that may block, and returns its result."""

    function: Callable[[], str]


Steps: TypeAlias = Generator[Send | Wait | Ask, Any, Reply]


def exchange(call: Call, tokens: TokenSource | None, retries: int, deadline: Deadline) -> Steps:
    """The steps of a call, which end with the last answer, whatever its status.

    A 503 and a failed connection are tried again up to ``retries`` times within the deadline. A prediction changes
    nothing at the server, so it may be made twice. Raises ConnectionFailed and the errors of ``tokens``.
    """
    refused = failed = 0
    while True:
        try:
            reply = yield from _with_token(call, tokens, deadline)
        except ConnectionFailed as error:
            wait, failed = reconnect(failed), failed + 1
            if not error.again or refused + failed > retries or wait >= deadline.left():
                raise
        else:
            wait, refused = backoff(refused, reply.headers.get("retry-after")), refused + 1
            if reply.status_code != NO_ROOM or refused + failed > retries or wait >= deadline.left():
                return reply
        yield Wait(wait)


def _with_token(call: Call, tokens: TokenSource | None, deadline: Deadline) -> Steps:
    """Sends the call. Sends it again with a new token if the token was refused and there is a new one."""
    if tokens is None or isinstance(tokens, FixedToken):
        only: Reply = yield Send(call, tokens.get() if tokens else None, deadline)
        return only
    token = yield Ask(lambda: tokens.get(deadline.left()))
    reply: Reply = yield Send(call, token, deadline)
    if _token_refused(reply):
        other = yield Ask(lambda: tokens.renew(token, deadline.left()))
        if other != token:
            reply = yield Send(call, other, deadline)
    return reply


def _token_refused(reply: Reply) -> bool:
    """Whether the token was refused. TorchServe answers 400, as for other errors; the body's ``type`` tells them
    apart."""
    return reply.status_code == 401 or (reply.status_code in (400, 403) and b"InvalidKeyException" in reply.content)
