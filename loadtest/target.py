"""What is asked: one archive of one server, with a valid token and its payloads in rotation.

Knows URLs, headers and tokens. Does not send under load: users.py does.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import requests

from export.catalog import CatalogError, Model, model
from loadtest.errors import LoadTestError
from loadtest.golden import Golden
from loadtest.payloads import Payload, payloads
from serving.client import Client
from serving.config import Config
from serving.errors import ServingError
from serving.state import RunDirectory

TOKEN_GOOD_FOR_S = 20  # tokens are renewed by serving's client, half a minute before they expire
CHECK_EVERY = 10


class Token:
    """An inference token: $TOKEN, else what $TOKEN_FILE holds, else that of the server started from this checkout."""

    def __init__(self, source: Callable[[], str]) -> None:
        self._source, self._value, self._until = source, "", 0.0

    @classmethod
    def from_environment(cls) -> Token:
        """Chooses the source. A file may hold the bare token or be TorchServe's key file; it is read again."""
        if token := os.environ.get("TOKEN"):
            return cls(lambda: token)
        if path := os.environ.get("TOKEN_FILE"):
            return cls(lambda: _token_in(Path(path)))
        return cls(Client(Config.load(), RunDirectory.default().key_file).token)

    def get(self) -> str:
        """The token, asked for again now and then. Raises LoadTestError when there is none."""
        if time.monotonic() >= self._until:
            try:
                self._value, self._until = self._source(), time.monotonic() + TOKEN_GOOD_FOR_S
            except ServingError as error:
                raise LoadTestError(f"There is no token: {error} (or set TOKEN or TOKEN_FILE)") from None
        return self._value


def _token_in(path: Path) -> str:
    try:
        text = path.read_text().strip()
    except OSError as error:
        raise LoadTestError(f"TOKEN_FILE {path} cannot be read ({error.strerror}); name a readable file.") from None
    return json.loads(text)["inference"]["key"] if text.startswith("{") else text


def authorities() -> str | None:
    """The file of certificates that $SSL_CERT_FILE names, for a server with an authority of its own; None: the public
    ones. OpenSSL, and with it the client under load, knows that variable; requests does not. Raises LoadTestError."""
    path = os.environ.get("SSL_CERT_FILE")
    if path and not Path(path).is_file():
        raise LoadTestError(f"SSL_CERT_FILE is {path!r}, and there is no such file; name one of certificates (PEM).")
    return path or None


def model_of(archive: str) -> Model:
    """The catalog's row of an archive's model. Raises LoadTestError for a model that the catalog does not know."""
    try:
        return model(archive.partition("-")[0])
    except CatalogError as error:
        raise LoadTestError(str(error)) from None


@dataclass
class Target:
    """One archive of the server at ``host``; with ``golden``, every ``check_every``-th answer is compared with it."""

    host: str
    archive: str
    token: Token
    golden: Golden | None = None
    check_every: int = CHECK_EVERY
    payloads: Sequence[Payload] = ()
    _turn: itertools.count[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.payloads = self.payloads or payloads(model_of(self.archive))

    @property
    def path(self) -> str:
        """Of the archive's predictions, below ``host``."""
        return f"/predictions/{self.archive}"

    def next(self) -> tuple[Payload, bool]:
        """The payload whose turn it is, and whether its answer is to be checked."""
        turn = next(self._turn)
        return self.payloads[turn % len(self.payloads)], self.golden is not None and turn % self.check_every == 0

    def headers(self, payload: Payload) -> dict[str, str]:
        """Of a request with that payload."""
        # Without Accept-Encoding: identity, Locust's client offers compression and may spend its time unpacking.
        return {
            "Authorization": f"Bearer {self.token.get()}",
            "Content-Type": payload.content_type,
            "Accept-Encoding": "identity",
        }

    def record_golden(self) -> Golden:
        """Asks each payload once, alone, and keeps the answers. Raises LoadTestError when one is refused."""
        with requests.Session() as session:
            session.trust_env = False  # a proxy from the environment has no business between us and the server
            session.verify = authorities() or True
            return Golden.record(model_of(self.archive).task, self.payloads, lambda each: self._ask(session, each))

    def _ask(self, session: requests.Session, payload: Payload) -> bytes:
        try:
            reply = session.post(self.host + self.path, data=payload.body, headers=self.headers(payload), timeout=60)
        except requests.exceptions.SSLError:
            raise LoadTestError(
                f"The certificate of {self.host} is vouched for by nobody known; if by you: SSL_CERT_FILE=ca.pem"
            ) from None
        except requests.RequestException as error:
            raise LoadTestError(f"No answer from {self.host} ({type(error).__name__}); is the server up?") from None
        if not reply.ok:
            reason = f"{reply.status_code}: {reply.text[:200].strip()}"
            raise LoadTestError(f"{self.archive} does not answer {payload.name}, but {reason}")
        return reply.content
