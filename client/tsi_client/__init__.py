"""Client of a TorchScript Inference server.

    from tsi_client import Client

    with Client("http://127.0.0.1:8080", token="...") as client:
        client.predict("minilm-torchscript", "hello world")["embedding"]

``AsyncClient`` is the same with ``await``. Every error is an ``Error``. The page docs/client.md has the rest.
"""

from tsi_client.async_client import AsyncClient
from tsi_client.certificates import pinned
from tsi_client.client import Client
from tsi_client.errors import (
    BadAnswer,
    BadRequest,
    ConnectionFailed,
    Error,
    NotFound,
    Overloaded,
    ServerError,
    StatusError,
    Timeout,
    TokenError,
    TooLarge,
    Unauthorized,
)
from tsi_client.key_file import KeyFile
from tsi_client.reply import Reply
from tsi_client.tokens import TokenFile, TokenSource

__all__ = [
    "AsyncClient",
    "BadAnswer",
    "BadRequest",
    "Client",
    "ConnectionFailed",
    "Error",
    "KeyFile",
    "NotFound",
    "Overloaded",
    "Reply",
    "ServerError",
    "StatusError",
    "Timeout",
    "TokenError",
    "TokenFile",
    "TokenSource",
    "TooLarge",
    "Unauthorized",
    "pinned",
]
