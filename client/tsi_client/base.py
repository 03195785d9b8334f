"""The part that both clients share: settings, building of requests, and the error for each failure."""

from __future__ import annotations

import os
import ssl
from typing import Any

import httpx2

from tsi_client.certificates import context_for
from tsi_client.course import Calling
from tsi_client.deadline import Deadline
from tsi_client.errors import ConnectionFailed, Error
from tsi_client.exchange import Call, Send
from tsi_client.reply import Reply
from tsi_client.tensors import model_path
from tsi_client.tokens import TokenSource, source_of

NOT_READY = (400, 503)  # TorchServe answers 400, other servers 503


class Base(Calling):
    """The settings of a client.

    ``url`` is the server's address. ``token`` is the token itself, the path of a file that holds one, a ``KeyFile``, or
    None. ``timeout`` is the limit in seconds for a whole call. A 503 and a failed connection are tried again up to
    ``retries`` times within that time. ``connections`` is the most connections to the server at once. ``verify`` is an
    ``ssl.SSLContext``, such as ``pinned(...)``; False trusts every server. With ``trust_env``, proxies and authorities
    come from the environment. Raises ValueError if ``url`` is no URL, TokenError for an invalid token.
    """

    def __init__(
        self,
        url: str,
        token: str | os.PathLike[str] | TokenSource | None = None,
        *,
        timeout: float = 120.0,
        retries: int = 3,
        connections: int = 100,
        verify: bool | ssl.SSLContext = True,
        trust_env: bool = True,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"{url} is no address; write it as in http://127.0.0.1:8080")
        self.url, self.timeout, self.retries = url.rstrip("/"), timeout, retries
        self._tokens = source_of(token)
        limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
        # httpx gets no timeout: each call has a deadline.
        self._open(verify=context_for(url, verify), trust_env=trust_env, limits=limits, timeout=None)

    def _open(self, **options: Any) -> None:
        raise NotImplementedError

    def _request(self, http: httpx2.Client | httpx2.AsyncClient, step: Send, **extensions: Any) -> httpx2.Request:
        call = step.call
        access = {"Authorization": f"Bearer {step.token}"} if step.token else {}
        return http.build_request(
            call.method, self.url + call.path, content=call.content, headers={**call.headers, **access},
            params=call.params, extensions=extensions,
        )  # fmt: skip

    def _failure(self, error: httpx2.HTTPError, deadline: Deadline) -> Error:
        if isinstance(error, httpx2.TimeoutException):
            return self._too_late(deadline)
        again = isinstance(error, httpx2.TransportError) and not _is_of_tls(error)
        said = str(error).strip() or "the connection ended"
        return ConnectionFailed(f"No answer from {self.url} ({type(error).__name__}: {said})", again)


def _is_of_tls(error: BaseException | None) -> bool:
    """Whether TLS or a certificate is the cause. Another try would fail in the same way."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error is not None


def as_reply(answer: httpx2.Response) -> Reply:
    """The answer of httpx as a ``Reply``."""
    return Reply(answer.status_code, answer.headers, answer.content, answer.reason_phrase)


def readiness(model: str | None, timeout: float | None) -> Call:
    """The call that asks whether a model, or all, can answer."""
    path = f"{model_path(model, None)}/ready" if model else "/v2/health/ready"
    return Call("GET", path, timeout=timeout, retried=False)


def is_ready(reply: Reply) -> bool:
    """Whether the answer says that it is ready. Raises StatusError."""
    return reply.status_code not in NOT_READY and reply.checked().ok
