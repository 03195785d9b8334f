"""TorchServe's key file, for clients on the server's own machine: tokens are renewed over its management API."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

import httpx2

from tsi_client.certificates import context_for
from tsi_client.deadline import Deadline, limit
from tsi_client.errors import TokenError, of_status
from tsi_client.reply import Reply

RENEW_BEFORE_S = 30
RENEWAL_TIMEOUT_S = 10.0
LEAST_FREE = 1 << 16  # bytes that must be free on the key file's disk; a renewal writes about 300


class KeyFile:
    """Tokens from TorchServe's key file at ``path``, renewed at ``management``, the URL of the management API.

    A renewal makes the old token invalid for everyone. So a lock beside the key file allows one renewal at a time, and
    a second process reads the token that the first one got.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        management: str = "http://127.0.0.1:8081",
        *,
        kind: Literal["inference", "management"] = "inference",
        verify: bool | ssl.SSLContext = True,
    ) -> None:
        self._path, self._management, self._kind, self._verify = Path(path), management.rstrip("/"), kind, verify

    def get(self, timeout: float = RENEWAL_TIMEOUT_S) -> str:
        """A token that is valid for half a minute or more. Raises TokenError or StatusError."""
        entry = self._read()[self._kind]
        return entry["key"] if _seconds_left(entry) > RENEW_BEFORE_S else self.renew(entry["key"], timeout)

    def renew(self, refused: str, timeout: float = RENEWAL_TIMEOUT_S) -> str:
        """A token other than ``refused``: the one on file if it differs, else a new one. Raises TokenError or
        StatusError."""
        deadline = Deadline(min(timeout, RENEWAL_TIMEOUT_S))
        with self._one_at_a_time(deadline):
            entry = self._read()[self._kind]
            if entry["key"] != refused and _seconds_left(entry) > 0:
                return entry["key"]
            self._ask(deadline)
            return self._read()[self._kind]["key"]

    @contextmanager
    def _one_at_a_time(self, deadline: Deadline) -> Iterator[None]:
        import fcntl  # missing on Windows, where TorchServe has no key file

        path = self._path.with_name("renew.lock")
        try:
            lock = path.open("w")
        except OSError as error:
            raise TokenError(f"The token cannot be renewed: {path} cannot be written ({error.strerror})") from None
        with lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if deadline.left() <= 0:
                        raise TokenError("Another process has been renewing the token for too long") from None
                    time.sleep(0.01)
            yield

    def _ask(self, deadline: Deadline) -> None:
        self._require_space()
        url, key = f"{self._management}/token", self._read()["API"]["key"]
        # Proxies from the environment are ignored: the management API is on this machine.
        with limit(httpx2.Client(verify=context_for(url, self._verify), trust_env=False)) as client:
            access = {"Authorization": f"Bearer {key}"}
            request = client.build_request(
                "GET", url, params={"type": self._kind}, headers=access, extensions={"timeout": deadline.timeouts()}
            )
            try:
                answer = client.send(request)
            except httpx2.HTTPError as error:
                raise TokenError(f"No answer from {self._management} ({type(error).__name__})") from None
        if answer.is_error:
            reply = Reply(answer.status_code, answer.headers, answer.content, answer.reason_phrase)
            raise of_status(reply.status_code, reply.message, reply.retry_after)

    def _require_space(self) -> None:
        """Raises TokenError on a full disk. TorchServe empties the key file before it writes it anew, so on a full disk
        all keys would be lost."""
        if shutil.disk_usage(self._path.parent).free < LEAST_FREE:
            raise TokenError(f"The token cannot be renewed: the disk of {self._path} is full; free some space")

    def _read(self) -> dict[str, dict[str, str]]:
        """The key file's content. It is read again for a moment while incomplete, since TorchServe writes it in
        place."""
        for attempt in range(20):
            try:
                keys: dict[str, dict[str, str]] = json.loads(self._path.read_text())
                return keys
            except FileNotFoundError:
                raise TokenError(f"There is no key file at {self._path}") from None
            except OSError as error:
                raise TokenError(f"{self._path} cannot be read ({error.strerror})") from None
            except ValueError:
                time.sleep(0.01 * (attempt + 1))
        raise TokenError(f"{self._path} is not JSON")


def _seconds_left(entry: Mapping[str, str]) -> float:
    # Java writes nanoseconds and a Z; Python 3.10 reads neither.
    text = entry["expiration time"].rstrip("Z").split(".")[0]
    expires = datetime.strptime(text if text.count(":") == 2 else f"{text}:00", "%Y-%m-%dT%H:%M:%S")
    return (expires.replace(tzinfo=timezone.utc) - datetime.now(timezone.utc)).total_seconds()
