"""The target of a load: one archive of one server, with a valid token and its payloads in rotation.

Knows URLs, headers and tokens. users.py sends the load. Golden answers come over HTTP, since the same bodies have the
same answers over gRPC.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import requests

from export.catalog import CatalogError, Model, model, variant
from loadtest.errors import LoadTestError
from loadtest.load.golden import Golden, Judge
from loadtest.load.payloads import Payload, payloads
from serving.client import Client
from serving.errors import ServingError
from serving.replicas.group import served_config
from serving.state import RunDirectory
from tsi_client import TokenError, TokenFile

TOKEN_GOOD_FOR_S = 20  # tokens are renewed by serving's client, half a minute before they expire
CHECK_EVERY = 10


class Token:
    """An inference token: $TOKEN, else the one in $TOKEN_FILE, else that of the server started from this checkout."""

    def __init__(self, source: Callable[[], str]) -> None:
        self._source, self._value, self._until = source, "", 0.0

    @classmethod
    def from_environment(cls) -> Token:
        """Chooses the source. A file has the bare token or is TorchServe's key file. It is read again from time to
        time."""
        if token := os.environ.get("TOKEN"):
            return cls(lambda: token)
        if path := os.environ.get("TOKEN_FILE"):
            return cls(TokenFile(path).get)
        run = RunDirectory.default()
        return cls(Client(served_config(run), run.key_file).token)

    def get(self) -> str:
        """The token, read again from time to time. Raises LoadTestError if there is none."""
        if time.monotonic() >= self._until:
            try:
                self._value, self._until = self._source(), time.monotonic() + TOKEN_GOOD_FOR_S
            except TokenError as error:
                raise LoadTestError(f"TOKEN_FILE {error}") from None
            except ServingError as error:
                raise LoadTestError(f"There is no token: {error} (or set TOKEN or TOKEN_FILE)") from None
        return self._value


def authorities() -> str | None:
    """The certificates of $SSL_CERT_FILE, for a server with a private authority; None: the public authorities. OpenSSL,
    which the client under load uses, reads this variable; requests does not. Raises LoadTestError."""
    path = os.environ.get("SSL_CERT_FILE")
    if path and not Path(path).is_file():
        raise LoadTestError(f"SSL_CERT_FILE is {path!r}, and there is no such file; name a file of certificates (PEM).")
    return path or None


def named(archive: str) -> tuple[Model, str] | None:
    """(the catalog's row of the model, the variant) of an archive's name, or None for an unknown model or variant.

    Both parts may contain dashes: of several matching models, the longest name counts. The variant is "" only for
    ``null``.
    """
    ends = [len(archive), *(at for at in reversed(range(len(archive))) if archive[at] == "-")]
    for end in ends:
        name, rest = archive[:end], archive[end + 1 :]
        try:
            found = model(name)
            if rest:
                variant(rest)
        except CatalogError:
            continue
        if rest or found.task == "null":
            return found, rest
    return None


def model_of(archive: str, client: Client | None = None) -> Model:
    """The catalog's row of an archive's model, by the archive's name, else by its server's description.

    Raises LoadTestError for a model that the catalog does not have.
    """
    if found := named(archive):
        return found[0]
    own = (client.describe(archive).get("customizedMetadata") or {}).get("model") if client else None
    try:
        return model(own or archive)
    except CatalogError as error:
        raise LoadTestError(f"There are no payloads for {archive}, whose model is not known: {error}") from None


@dataclass
class Target:
    """One archive of the server at ``host``. With ``golden``, every ``check_every``-th answer is compared with it."""

    host: str
    archive: str
    token: Token
    golden: Judge | None = None
    check_every: int = CHECK_EVERY
    payloads: Sequence[Payload] = ()
    order: Sequence[int] | None = None  # which payload has each turn; None: one after the other
    model: Model | None = None  # None: the one that the archive's name says
    route: str = ""  # where another server than TorchServe is asked
    grpc: str = ""  # host:port of the gRPC inference API, where that is asked instead
    _turn: itertools.count[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.model = self.model or model_of(self.archive)
        self.payloads = self.payloads or payloads(self.model)

    @property
    def path(self) -> str:
        """The path of the archive's predictions."""
        return self.route or f"/predictions/{self.archive}"

    @property
    def method(self) -> str:
        """Locust's name for the kind of these requests."""
        return "gRPC" if self.grpc else "POST"

    @property
    def url(self) -> str:
        """The URL of the archive's predictions."""
        return f"grpc://{self.grpc}/{self.archive}" if self.grpc else self.host + self.path

    def next(self) -> tuple[Payload, bool]:
        """The next payload, and whether its answer is to be checked."""
        turn = next(self._turn)
        which = self.order[turn % len(self.order)] if self.order else turn % len(self.payloads)
        return self.payloads[which], self.golden is not None and turn % self.check_every == 0

    def headers(self, payload: Payload) -> dict[str, str]:
        """The headers of a request with that payload."""
        # Without Accept-Encoding: identity, Locust's client accepts compression, and decompression would take its time.
        return {
            "Authorization": f"Bearer {self.token.get()}",
            "Content-Type": payload.content_type,
            "Accept-Encoding": "identity",
        }

    def record_golden(self) -> Golden:
        """Sends each payload once, alone, and keeps the answers. Raises LoadTestError if one is refused."""
        with requests.Session() as session:
            session.trust_env = False  # a proxy from the environment has no business between us and the server
            session.verify = authorities() or True
            assert self.model is not None  # __post_init__ sees to it
            own = bool(self.model.handler)
            return Golden.record(self.model.task, self.payloads, lambda each: self._ask(session, each), own)

    def _ask(self, session: requests.Session, payload: Payload) -> bytes:
        try:
            reply = session.post(self.host + self.path, data=payload.body, headers=self.headers(payload), timeout=60)
        except requests.exceptions.SSLError:
            raise LoadTestError(
                f"The certificate of {self.host} has no known authority; name yours: SSL_CERT_FILE=ca.pem"
            ) from None
        except requests.RequestException as error:
            raise LoadTestError(f"No answer from {self.host} ({type(error).__name__}); is the server up?") from None
        if not reply.ok:
            reason = f"{reply.status_code}: {reply.text[:200].strip()}"
            raise LoadTestError(f"{self.archive} does not answer {payload.name}, but {reason}")
        return reply.content
