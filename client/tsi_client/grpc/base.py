"""The part that both gRPC clients share: settings, and the answer or error for each status."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc

from tsi_client.course import Calling
from tsi_client.deadline import Deadline
from tsi_client.errors import ConnectionFailed
from tsi_client.exchange import Send
from tsi_client.reply import Reply
from tsi_client.tokens import TokenSource, source_of

UNAVAILABLE, DEADLINE, CANCELLED = (grpc.StatusCode[name] for name in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"))
# The HTTP status of each gRPC status. All others are failures of the server.
STATUSES = {
    "INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "OUT_OF_RANGE": 400, "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403, "NOT_FOUND": 404, "ALREADY_EXISTS": 409, "ABORTED": 409, "RESOURCE_EXHAUSTED": 413,
    "UNIMPLEMENTED": 501, "UNAVAILABLE": 503,
}  # fmt: skip
RETRY_AFTER = "retry-after"


class GrpcBase(Calling):
    """The settings of a client.

    ``url`` is the address of the server's gRPC port, as in http://127.0.0.1:7070; with https:// it speaks TLS, and
    trusts the authorities in the PEM file ``authorities``, or gRPC's own. The other settings are those of ``Client``.
    Raises ValueError for what is no URL or no file, TokenError for what is no token.
    """

    def __init__(
        self,
        url: str,
        token: str | os.PathLike[str] | TokenSource | None = None,
        *,
        timeout: float = 120.0,
        retries: int = 3,
        authorities: str | os.PathLike[str] | None = None,
        trust_env: bool = True,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"):
            raise ValueError(f"{url} is no address of a gRPC port; write it as in http://127.0.0.1:7070")
        self.url, self.timeout, self.retries = url.rstrip("/"), timeout, retries
        self._tokens = source_of(token)
        self._options = [
            ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
            ("grpc.enable_retries", 0),  # exchange.py retries
            ("grpc.enable_http_proxy", int(trust_env)),
            # gRPC would wait a second before it connects again; a retry is to connect at once.
            ("grpc.initial_reconnect_backoff_ms", 100), ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
        ]  # fmt: skip
        secure = parts.scheme == "https"
        self._target = parts.netloc if parts.port else f"{parts.netloc}:{443 if secure else 80}"
        self._credentials = _credentials(authorities) if secure else None
        self._begin()

    def _begin(self) -> None:
        """Called once the settings are complete."""

    def _channel(self, library: Any) -> Any:
        """A channel of ``grpc`` or ``grpc.aio``."""
        if self._credentials is None:
            return library.insecure_channel(self._target, options=self._options)
        return library.secure_channel(self._target, self._credentials, options=self._options)

    def _settings(self, step: Send) -> dict[str, Any]:
        """The settings of one call: its time limit and its token."""
        access = [("authorization", f"Bearer {step.token}")] if step.token else []
        return {"timeout": max(step.deadline.left(), 0.001), "metadata": access}

    def _outcome(self, error: grpc.RpcError, deadline: Deadline) -> Reply:
        """The server's refusal as an answer. Raises Timeout, or ConnectionFailed if no server answered. grpc reports
        both a refusal and a failed connection as UNAVAILABLE."""
        code, said = error.code(), str(error.details() or "")
        told = {str(key): str(value) for key, value in error.trailing_metadata() or ()}
        if code == DEADLINE:
            raise self._too_late(deadline) from error
        if code == CANCELLED or (code == UNAVAILABLE and RETRY_AFTER not in told):
            raise ConnectionFailed(f"No answer from {self.url} ({said})", code == UNAVAILABLE) from error
        return Reply(STATUSES.get(code.name, 500), told, b"", said or code.name)


def _credentials(authorities: str | os.PathLike[str] | None) -> grpc.ChannelCredentials:
    try:
        return grpc.ssl_channel_credentials(Path(authorities).read_bytes() if authorities else None)
    except OSError as error:
        raise ValueError(f"{authorities} cannot be read ({error.strerror}); name a PEM file.") from None
