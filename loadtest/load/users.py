"""The Locust user that sends requests to an archive, and the recorder that turns Locust's request events into rows.

Knows Locust, HTTP and the headers of an answer; grpc_sender.py knows gRPC. engine.py decides when requests are sent.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any, Protocol

from geventhttpclient.client import HTTPClient
from locust import FastHttpUser
from locust.contrib.fasthttp import FAILURE_EXCEPTIONS
from locust.env import Environment
from locust.exception import CatchResponseError

from loadtest.load.payloads import Payload
from loadtest.load.rows import DROPPED, TIMEOUT, UNKNOWN, WRONG, RequestRow
from loadtest.load.sockets import note_times
from loadtest.load.target import Target

note_times()

NETWORK_TIMEOUT_S, CONNECTION_TIMEOUT_S = 60.0, 10.0
STAGES = ("x-preprocess-ms", "x-inference-ms", "x-postprocess-ms")


def now_us() -> int:
    """Microseconds since 1970: the clock that Locust stamps requests with, so that all instants of a row agree."""
    return time.time_ns() // 1000


@dataclass
class Note:
    """Travels with a request through Locust's event to its row."""

    archive: str
    intended_us: int | None = None
    checked: bool = False


@dataclass(frozen=True)
class Reply:
    """An answer, or the failure of a request without one (status 0)."""

    status_code: int = 0
    headers: Any = None
    content: bytes = b""


class Sender(Protocol):
    """A user's connection to the server."""

    def send(self, payload: Payload) -> tuple[Reply, BaseException | None]:
        """The answer to the payload, and its error or None."""

    def times(self, start: float) -> tuple[float, float]:
        """When the last request left (at ``start`` or later) and when its answer came, in s since 1970."""


class HttpSender:
    """Sends through the HTTP client below Locust's FastHttpSession. The session's cookies, redirects and URL parsing
    took half of the processor time of a request, which a server on the same cores needs."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._http = HTTPClient.from_url(
            target.host,
            concurrency=1,
            network_timeout=NETWORK_TIMEOUT_S,
            connection_timeout=CONNECTION_TIMEOUT_S,
            insecure=False,  # a token must not be sent to whoever answers
        )

    def send(self, payload: Payload) -> tuple[Reply, BaseException | None]:
        """One POST."""
        try:
            headers = self._target.headers(payload)
            answer = self._http.request("POST", self._target.path, body=payload.body, headers=headers)
            reply = Reply(answer.get_code(), answer, bytes(answer.read()))
        except FAILURE_EXCEPTIONS as error:
            return Reply(), error
        return reply, None if reply.status_code < 400 else CatchResponseError(f"status {reply.status_code}")

    def times(self, start: float) -> tuple[float, float]:
        """The times of the socket, or with TLS those of this thread."""
        timed = getattr(self._http._connection_pool, "timed", None)
        if timed is None or not start <= timed.sent <= timed.came:
            return start, time.time()
        return timed.sent, timed.came


def sender(target: Target) -> Sender:
    """A connection of the target's protocol."""
    if target.grpc:
        from loadtest.load.grpc_sender import GrpcSender  # needs an extra

        return GrpcSender(target)
    return HttpSender(target)


class ArchiveUser(FastHttpUser):
    """Sends the next payload of ``target``, and fires Locust's event itself. Subclasses set ``target``."""

    abstract = True
    target: Target

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._sender = sender(self.target)

    def ask(self, intended_us: int | None = None) -> None:
        """Sends one request and waits for its answer; the row comes from Locust's event."""
        target = self.target
        payload, check = target.next()
        start = time.time()
        reply, exception = self._sender.send(payload)
        start, end = self._sender.times(start) if exception is None else (start, time.time())
        note = Note(target.archive, intended_us, check and exception is None)
        if note.checked and target.golden and not target.golden.matches(payload, reply.content):
            exception = CatchResponseError(WRONG)
        self.environment.events.request.fire(
            request_type=target.method, name=target.archive, url=target.url, start_time=start,
            response_time=(end - start) * 1e3, response_length=len(reply.content), response=reply,
            exception=exception, context={"loadtest": note},
        )  # fmt: skip


def user_class(target: Target, base: type[ArchiveUser] = ArchiveUser) -> type[ArchiveUser]:
    """A user of ``target`` for a closed loop: the next request leaves when the last one was answered."""
    return type("Asking", (base,), {"target": target, "host": target.host, "tasks": [ArchiveUser.ask]})


class Recorder:
    """Appends a row to ``rows`` for each request event of ``environment``, in order of completion."""

    def __init__(self, environment: Environment) -> None:
        self.rows: list[RequestRow] = []
        environment.events.request.add_listener(self._on_request)

    def drop(self, archive: str, intended_us: int) -> None:
        """Records a request that was not sent, since too many were outstanding."""
        self._unanswered(archive, intended_us, DROPPED)

    def give_up(self, archive: str, intended_us: int) -> None:
        """Records a request that is no longer waited for."""
        self._unanswered(archive, intended_us, TIMEOUT)

    def _unanswered(self, archive: str, intended_us: int, kind: str) -> None:
        now = now_us()
        self.rows.append(RequestRow(archive, intended_us, now, now, 0, kind, 0, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, 0))

    def _on_request(
        self,
        response_time: float,
        response_length: int,
        exception: BaseException | None,
        start_time: float,
        response: Any,
        context: dict[str, Any],
        **_: Any,
    ) -> None:
        note: Note | None = context.get("loadtest")
        if note is None:  # another user class's request
            return
        sent = round(start_time * 1e6)
        intended = sent if note.intended_us is None else note.intended_us
        error = error_kind(response, exception) if exception else ""
        self.rows.append(
            RequestRow(
                note.archive,
                min(intended, sent),
                sent,
                sent + round(response_time * 1e3),
                response.status_code or 0,
                error,
                response_length,
                *_stated(response.headers),
                int(note.checked),
            )
        )


def _stated(headers: Any) -> tuple[int, int, int, int]:
    """The server's stage times in microseconds and its batch size; UNKNOWN if the server states none."""
    if headers is None or STAGES[0] not in headers:
        return UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN
    first, second, third = (round(float(headers[name]) * 1e3) for name in STAGES)
    return first, second, third, int(headers.get("x-batch-size", UNKNOWN))


def error_kind(response: Any, exception: BaseException) -> str:
    """A failure's kind: "timeout", "connection", "wrong answer", "token", "503 queue", "503 handler" or the status."""
    status = response.status_code or 0
    if str(exception) == WRONG:
        return WRONG
    if status == 0:
        return (
            TIMEOUT
            if "timed out" in str(exception).lower() or "timeout" in type(exception).__name__.lower()
            else "connection"
        )
    if status == 503:
        # A full queue and a failing handler share a status; the type in the body tells them apart.
        return "503 queue" if _type(response) == "ServiceUnavailableException" else "503 handler"
    return "token" if "InvalidKey" in _type(response) else str(status)


def _type(response: Any) -> str:
    try:
        return str(json.loads(response.content).get("type", ""))
    except (ValueError, TypeError, AttributeError):
        return ""
