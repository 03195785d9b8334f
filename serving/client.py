"""The client of the server that this checkout runs: finds its addresses, its certificate and its key file.

The package in client/tsi_client makes the requests. This module adds TorchServe's management API, which is not needed
for predictions.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import httpx2

import tsi_client
from serving.config import Config
from serving.errors import RequestRefused, ServingError
from serving.state import TOKENS
from tsi_client import KeyFile, Reply, TokenFile, pinned

Kind = Literal["inference", "management"]


def direct(certificate: Path | None = None) -> httpx2.Client:
    """An HTTP client that ignores proxies from the environment, since the server is on loopback. With ``certificate``,
    a PEM file, it trusts a server that has the first certificate in it, and no other. Raises ServingError."""
    return httpx2.Client(trust_env=False, verify=_trusted(certificate))


def _trusted(certificate: Path | None) -> bool | ssl.SSLContext:
    try:
        return pinned(certificate) if certificate else True
    except ValueError as error:
        raise ServingError(f"certificate_file={error}") from None


@contextmanager
def _cures() -> Iterator[None]:
    """Turns the package's errors into those of serving, which name the command that fixes them."""
    try:
        yield
    except tsi_client.StatusError as error:
        raise ServingError(str(error)) from None
    except tsi_client.TokenError as error:
        raise ServingError(f"{error}; run: make serve") from None
    except tsi_client.Error as error:
        raise ServingError(f"{error}; run: make status") from None


class Client:
    """Calls the server of ``config``, whose key file is ``key_file``.

    ``inference`` is the package's own client. A prediction refused with 503 is sent again up to ``retries`` times, and
    a call takes ``timeout_s`` seconds at most. Methods raise ServingError.
    """

    def __init__(self, config: Config, key_file: Path, timeout_s: float = 120.0, retries: int = 3) -> None:
        verify = _trusted(config.certificate)
        self._key_file, self._config, self._timeout = key_file, config, timeout_s
        shared_token = key_file.with_name(TOKENS[0])  # replicas share a token; each key file has only its own server's
        inference = KeyFile(key_file, config.management, verify=verify)
        self._keys: dict[Kind, KeyFile | TokenFile] = {
            "inference": TokenFile(shared_token) if shared_token.exists() else inference,
            "management": KeyFile(key_file, config.management, kind="management", verify=verify),
        }
        shared: dict[str, Any] = {"timeout": timeout_s, "verify": verify, "trust_env": False}
        self.inference = tsi_client.Client(config.inference, self._keys["inference"], retries=retries, **shared)
        self._management = tsi_client.Client(config.management, self._keys["management"], retries=0, **shared)

    def token(self, kind: Kind = "inference") -> str:
        """A valid token of that kind."""
        with _cures():
            return self._keys[kind].get()

    def renew(self, kind: Kind = "inference") -> str:
        """A new token of that kind, in place of the present one."""
        with _cures():
            return self._keys[kind].renew(self._keys[kind].get())

    def predict(self, name: str, body: bytes, content_type: str) -> Reply:
        """POSTs ``body`` as it is to an archive and returns the last answer, whatever its status."""
        with _cures():
            headers = {"Content-Type": content_type}
            return self.inference.request("POST", f"/predictions/{quote(name)}", content=body, headers=headers)

    def ping(self) -> bool:
        """Whether the server reports that it is healthy."""
        with _cures():
            return self.inference.request("GET", "/ping").ok

    def models(self) -> list[str]:
        """Names of the registered archives."""
        listed = self._manage("GET", "/models", {"limit": "1000"})
        return sorted(entry["modelName"] for entry in listed["models"])

    def workers(self, name: str) -> list[dict[str, Any]]:
        """The archive's workers as TorchServe describes them (id, status, pid, ...)."""
        found: list[dict[str, Any]] = self.registration(name)["workers"]
        return found

    def registration(self, name: str) -> dict[str, Any]:
        """TorchServe's own description of an archive: version, settings, workers. It is answered without a worker."""
        found: dict[str, Any] = self._manage("GET", f"/models/{quote(name)}")[0]
        return found

    def describe(self, name: str) -> dict[str, Any]:
        """The description by TorchServe, with the archive's own description under ``customizedMetadata``.

        The answer comes from a worker, so it also proves that one answers.
        """
        answer: dict[str, Any] = self._manage("GET", f"/models/{quote(name)}", {"customized": "true"})[0]
        own = answer.get("customizedMetadata")
        answer["customizedMetadata"] = json.loads(own) if isinstance(own, str) else own
        return answer

    def versions(self, name: str) -> dict[str, dict[str, Any]]:
        """TorchServe's own description of each registered version of an archive, by version."""
        return {each["modelVersion"]: each for each in self._manage("GET", f"/models/{quote(name)}/all")}

    def register(self, name: str, file: str) -> str:
        """Registers an archive of the run folder as a further version of ``name``, and returns that version. It answers
        requests that name it, once its workers are ready. The default does not change."""
        return str(self._versions("POST", quote(name), archive=file)["version"])

    def set_default(self, name: str, version: str) -> None:
        """Makes this version the default: it answers the requests that name none."""
        self._manage("PUT", f"/models/{quote(name)}/{quote(version)}/set-default")

    def change(self, name: str, version: str, **settings: int) -> None:
        """Changes a version's ``workers``, ``batch_size`` or ``batch_delay`` (in the front end's unit) while it answers
        requests. New workers may not be ready yet on return. Surplus workers have ended between two batches."""
        self._versions("PUT", f"{quote(name)}/{quote(version)}", **settings)

    def end_worker(self, name: str, version: str, worker: str) -> None:
        """Ends one of a version's workers, by its id, between two batches. The version has one fewer then."""
        self._versions("PUT", f"{quote(name)}/{quote(version)}", end_worker=worker)

    def folder(self, name: str, version: str) -> Path:
        """Where a version's archive is unpacked. A worker reads the files there when it loads."""
        return Path(self._versions("GET", f"{quote(name)}/{quote(version)}")["folder"])

    def remove(self, name: str, version: str) -> None:
        """Ends a version that is not the default, once it has answered all its requests."""
        self._versions("DELETE", f"{quote(name)}/{quote(version)}")

    def mirror(self, name: str, version: str, seconds: int, percent: float) -> None:
        """Begins to copy ``percent`` of the requests that the default version answers to this one."""
        self._versions("POST", f"{quote(name)}/{quote(version)}/mirror", seconds=seconds, percent=str(percent))

    def mirrored(self, name: str, version: str) -> dict[str, Any]:
        """What both versions answered since the last call: see frontend/Mirror.java."""
        return self._versions("GET", f"{quote(name)}/{quote(version)}/mirror")

    def end_mirror(self, name: str, version: str) -> None:
        """Ends the copying. It also ends by itself if nobody fetches the answers."""
        self._versions("DELETE", f"{quote(name)}/{quote(version)}/mirror")

    def _versions(self, method: str, path: str, **query: str | int) -> dict[str, Any]:
        """Calls the front end's own API (frontend/Versions.java) with the key that renews tokens. Raises RequestRefused
        for an answer that is an error."""
        url = f"{self._config.management}/versions/{path}"
        params = {key: str(value) for key, value in query.items()}
        try:
            headers = {"Authorization": f"Bearer {json.loads(self._key_file.read_text())['API']['key']}"}
            with direct(self._config.certificate) as http:
                answer = http.request(method, url, params=params, headers=headers, timeout=self._timeout)
        except (OSError, ValueError):  # the key file
            raise ServingError(f"{self._key_file} cannot be read; run: make serve") from None
        except httpx2.HTTPError as error:
            raise ServingError(f"No answer from {url} ({type(error).__name__}); run: make status") from None
        reply = Reply(answer.status_code, answer.headers, answer.content)
        if not reply.ok:
            raise RequestRefused(reply.status_code, reply.message)
        found: dict[str, Any] = reply.json()
        return found

    def scale(self, name: str, workers: int) -> None:
        """Sets the archive's number of workers and waits until they are up."""
        query = {"min_worker": str(workers), "max_worker": str(workers), "synchronous": "true"}
        self._manage("PUT", f"/models/{quote(name)}", query)

    def _manage(self, method: str, path: str, query: Mapping[str, str] | None = None) -> Any:
        with _cures():
            return self._management.request(method, path, params=query).value()
