"""A client of TorchServe's HTTP APIs that keeps its tokens valid and comes back when the server has no room.

Knows URLs, the key file and TorchServe's answers, not models: request and response bodies pass through unchanged.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import random
import re
import shutil
import ssl
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from serving.config import Config
from serving.errors import RequestRefused, ServingError

RENEW_BEFORE_S = 30
_PEM = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
LEAST_FREE = 1 << 16  # bytes that must be free on the key file's disk; a renewal writes about 300


class Tokens:
    """Tokens from TorchServe's key file; expired ones are renewed over the management API.

    A renewal makes the old token invalid for everyone. So a lock beside the key file allows one renewal at a time, and
    a second process reads the token that the first one got.
    """

    def __init__(self, key_file: Path, management: str, certificate: Path | None = None) -> None:
        self._key_file = key_file
        self._management = management
        self._certificate = certificate

    def get(self, kind: str) -> str:
        """A valid token; ``kind`` is "inference" or "management". Raises ServingError."""
        entry = self._read()[kind]
        return entry["key"] if _seconds_left(entry) > RENEW_BEFORE_S else self.renew(kind, entry["key"])

    def renew(self, kind: str, refused: str) -> str:
        """A token other than ``refused``: the one on file if it differs, else a new one. Raises ServingError."""
        with self._key_file.with_name("renew.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            entry = self._read()[kind]
            if entry["key"] != refused and _seconds_left(entry) > 0:
                return entry["key"]
            self._ask(kind)
            return self._read()[kind]["key"]

    def _ask(self, kind: str) -> None:
        self._require_space()
        api_key = self._read()["API"]["key"]
        try:
            with direct(self._certificate) as session:
                reply = session.get(
                    f"{self._management}/token", params={"type": kind}, headers=_bearer(api_key), timeout=10
                )
        except requests.RequestException as error:
            raise ServingError(f"No answer from {self._management} ({type(error).__name__}); run: make serve") from None
        if not reply.ok:
            raise RequestRefused(reply.status_code, _message(reply))

    def _require_space(self) -> None:
        """Raises ServingError on a full disk. TorchServe empties the key file before it writes it anew, so on a full
        disk all keys would be lost."""
        if shutil.disk_usage(self._key_file.parent).free < LEAST_FREE:
            raise ServingError(f"The token cannot be renewed: the disk of {self._key_file} is full; free some space.")

    def _read(self) -> dict[str, dict[str, str]]:
        """The key file; read again for a moment where it is incomplete, since TorchServe writes it in place."""
        for attempt in range(20):
            try:
                keys: dict[str, dict[str, str]] = json.loads(self._key_file.read_text())
                return keys
            except FileNotFoundError:
                raise ServingError(f"There is no key file at {self._key_file}; run: make serve") from None
            except ValueError:
                time.sleep(0.01 * (attempt + 1))
        raise ServingError(f"{self._key_file} is not JSON; run: make stop serve")


class _Pinned(HTTPAdapter):
    """Trusts the server with one certificate, whatever name it is for: the server is reached on loopback."""

    def __init__(self, fingerprint: str) -> None:
        self._fingerprint = fingerprint
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options, assert_fingerprint=self._fingerprint)


def direct(certificate: Path | None = None) -> requests.Session:
    """A session that ignores proxies from the environment, since the server is on loopback. With ``certificate``, a PEM
    file, it trusts a server that has the first certificate in it, and no other. Raises ServingError."""
    session = requests.Session()
    session.trust_env = False
    if certificate:
        session.verify = False  # neither authority nor name: the fingerprint is compared instead
        session.mount("https://", _Pinned(_fingerprint(certificate)))
    return session


def _fingerprint(certificate: Path) -> str:
    try:
        found = _PEM.search(certificate.read_text())
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(found[0] if found else "")).hexdigest()
    except (OSError, ValueError, TypeError):
        raise ServingError(f"certificate_file={certificate} is no readable PEM certificate; name one.") from None


def _seconds_left(entry: Mapping[str, str]) -> float:
    # Java writes nanoseconds and a Z; Python 3.10 reads neither.
    text = entry["expiration time"].rstrip("Z").split(".")[0]
    expires = datetime.strptime(text if text.count(":") == 2 else f"{text}:00", "%Y-%m-%dT%H:%M:%S")
    return (expires.replace(tzinfo=timezone.utc) - datetime.now(timezone.utc)).total_seconds()


class Client:
    """Calls the server of ``config``, whose key file is ``key_file``.

    A prediction refused with 503 is asked again up to ``retries`` times, after what ``backoff`` says, but not where
    that is more than ``timeout_s`` seconds after the first time.
    """

    def __init__(self, config: Config, key_file: Path, timeout_s: float = 120.0, retries: int = 3) -> None:
        self._config = config
        certificate = config.certificate
        self._tokens = Tokens(key_file, config.management, certificate)
        self._session = direct(certificate)
        self._timeout = timeout_s
        self._retries = retries

    def token(self, kind: str = "inference") -> str:
        """A valid token of that kind."""
        return self._tokens.get(kind)

    def predict(self, name: str, body: bytes, content_type: str) -> requests.Response:
        """POSTs ``body`` to an archive and returns the last response, whatever its status."""
        url, began = f"{self._config.inference}/predictions/{name}", time.monotonic()
        for refused in range(self._retries + 1):
            reply = self._call("POST", url, "inference", data=body, headers={"Content-Type": content_type})
            wait = backoff(refused, reply.headers.get("Retry-After"))
            if reply.status_code != 503 or time.monotonic() + wait > began + self._timeout or refused == self._retries:
                break
            time.sleep(wait)
        return reply

    def ping(self) -> bool:
        """Whether the server reports that it is healthy."""
        return self._call("GET", f"{self._config.inference}/ping", "inference").ok

    def models(self) -> list[str]:
        """Names of the registered archives."""
        listed = self._management("GET", "/models", params={"limit": "1000"})
        return sorted(entry["modelName"] for entry in listed.json()["models"])

    def workers(self, name: str) -> list[dict[str, Any]]:
        """The archive's workers as TorchServe describes them (id, status, pid, ...)."""
        found: list[dict[str, Any]] = self.registration(name)["workers"]
        return found

    def registration(self, name: str) -> dict[str, Any]:
        """TorchServe's own description of an archive: version, settings, workers. It is answered without a worker."""
        found: dict[str, Any] = self._management("GET", f"/models/{name}").json()[0]
        return found

    def describe(self, name: str) -> dict[str, Any]:
        """The description by TorchServe, with the archive's own description under ``customizedMetadata``.

        The answer comes from a worker, so it also proves that one answers.
        """
        query = {"customized": "true"}
        answer: dict[str, Any] = self._management("GET", f"/models/{name}", params=query).json()[0]
        own = answer.get("customizedMetadata")
        answer["customizedMetadata"] = json.loads(own) if isinstance(own, str) else own
        return answer

    def scale(self, name: str, workers: int) -> None:
        """Sets the archive's number of workers and waits until they are up."""
        query = {"min_worker": str(workers), "max_worker": str(workers), "synchronous": "true"}
        self._management("PUT", f"/models/{name}", params=query)

    def _management(self, method: str, path: str, **arguments: Any) -> requests.Response:
        reply = self._call(method, self._config.management + path, "management", **arguments)
        if not reply.ok:
            raise RequestRefused(reply.status_code, _message(reply))
        return reply

    def _call(self, method: str, url: str, kind: str, **arguments: Any) -> requests.Response:
        token = self._tokens.get(kind)
        reply = self._send(method, url, token, arguments)
        if _token_refused(reply):
            reply = self._send(method, url, self._tokens.renew(kind, token), arguments)
        return reply

    def _send(self, method: str, url: str, token: str, arguments: dict[str, Any]) -> requests.Response:
        headers = {**arguments.get("headers", {}), **_bearer(token)}
        rest = {key: value for key, value in arguments.items() if key != "headers"}
        try:
            return self._session.request(method, url, headers=headers, timeout=self._timeout, **rest)
        except requests.RequestException as error:
            raise ServingError(f"No answer from {url} ({type(error).__name__}); run: make status") from None


def backoff(refused: int, retry_after: str | None) -> float:
    """Seconds to wait after a 503, where ``refused`` others came right before it: what its Retry-After says, 1 where it
    says nothing, doubled for each of those, and up to half as much more, since others were refused at the same time."""
    told = float(retry_after) if retry_after and retry_after.isdecimal() else 1.0
    return max(told, 1.0) * 2.0**refused * random.uniform(1, 1.5)


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _token_refused(reply: requests.Response) -> bool:
    """Whether the token was refused. TorchServe answers 400, as to other mistakes; the body's ``type`` tells them
    apart."""
    return reply.status_code in (400, 401, 403) and "InvalidKeyException" in reply.text


def _message(reply: requests.Response) -> str:
    try:
        return str(reply.json().get("message", reply.text))
    except ValueError:
        return reply.text.strip() or reply.reason
