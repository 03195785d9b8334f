"""Sends archives their own examples until the front end is warm.

The worker warms its model before it reports ready. Java's own code is then still cold, since Java interprets it at
first. It is the same code for all archives: after the requests to one of them, the next ones need a few. With eight
archives on two cores, each from the second on was as fast after 5 requests as after 150. Knows the example in an
archive's description, not its meaning.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.request import getproxies

from serving.client import Client
from serving.errors import ServingError

ROOT = Path(__file__).resolve().parent.parent
COLD_REQUESTS, COLD_SECONDS = 200, 1.5  # to the first archive of a server
REQUESTS, SECONDS = 20, 0.5
SHOWN = 100  # characters of an answer


@dataclass(frozen=True)
class Example:
    """A request that an archive answers: a text, or a file of the checkout or of the user's. ``answer`` is empty until
    the request was sent."""

    content_type: str
    text: str | None = None
    file: str | None = None
    answer: str = ""

    @classmethod
    def of(cls, description: dict[str, Any]) -> Example:
        """The example in an archive's description."""
        found = (description.get("customizedMetadata") or {}).get("example") or {}
        return cls(found.get("content_type", "text/plain"), found.get("text"), found.get("file"))

    def is_here(self) -> bool:
        """Whether the request can be sent: it is a text, or its file still exists."""
        return not self.file or (ROOT / self.file).is_file()

    def body(self) -> bytes:
        """The request's bytes."""
        return (ROOT / self.file).read_bytes() if self.file else (self.text or "hello").encode()

    def _shown_file(self, file: str) -> str:
        """The path as it is if it exists in the process's folder, as in a checkout."""
        return file if Path(file).is_file() else str(ROOT / file)

    def shown_answer(self) -> str:
        """The answer's beginning, as a comment for a shell; empty if the request was not sent."""
        text = " ".join(self.answer.split())
        return f"# {text if len(text) <= SHOWN else text[:SHOWN] + ' ...'}" if text else ""

    def curl(self, url: str, token: str, authority: str = "") -> str:
        """The request as a curl command, for a shell in this process's folder. ``authority`` is the file that verifies
        the server's certificate, if the certificate is for this address."""
        text = shlex.quote(self.text or "hello")
        data = (
            f"-T {shlex.quote(self._shown_file(self.file))}" if self.file
            else f"-H 'Content-Type: {self.content_type}' --data-raw {text}"
        )  # fmt: skip
        method = "-X POST " if self.file else ""
        direct = "--noproxy '*' " if getproxies() else ""
        if authority:
            direct += f"--cacert {shlex.quote(authority)} "
        elif url.startswith("https://127.0.0.1"):
            direct += "-k "  # the certificate is for another name
        access = f"-H 'Authorization: Bearer {token}' " if token else ""
        return f"curl {direct}{method}{access}{data} {url}"


def warm_up(client: Client, names: Iterable[str]) -> dict[str, Example]:
    """Sends the first archive its example for a second or two, and the others theirs some times. Returns the examples
    by name. An example whose file no longer exists is not sent.

    Raises ServingError when an archive does not answer its own example.
    """
    found: dict[str, Example] = {}
    for name in names:
        warm = any(each.answer for each in found.values())
        found[name] = _sent(client, name, *((REQUESTS, SECONDS) if warm else (COLD_REQUESTS, COLD_SECONDS)))
    return found


def _sent(client: Client, name: str, requests: int, seconds: float) -> Example:
    example = Example.of(client.describe(name))
    if not example.is_here():  # a user's file, which may have been moved since the archive was built
        return example
    body, end = example.body(), time.monotonic() + seconds
    for _ in range(requests):
        reply = client.predict(name, body, example.content_type)
        if not reply.ok:
            raise ServingError(f"{name} answers its own example with {reply.status_code}: {reply.text[:200]}")
        if time.monotonic() > end:
            break
    return replace(example, answer=reply.text)
