"""An answer as the server sent it, and its meaning."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tsi_client.errors import BadAnswer, of_status
from tsi_client.retries import seconds_told


@dataclass(frozen=True)
class Reply:
    """An answer of any status. The names in ``headers`` are case-insensitive."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Whether the status is no error."""
        return self.status_code < 400

    @property
    def text(self) -> str:
        """The body as text; bytes that are not UTF-8 become replacement characters."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body's value. Raises ValueError where it is not JSON."""
        return json.loads(self.content)

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asks to wait; None where it does not say."""
        return seconds_told(self.headers.get("retry-after"))

    @property
    def message(self) -> str:
        """The server's own message of an error."""
        try:
            said = self.json()
        except ValueError:
            said = None
        said = said if isinstance(said, dict) else {}
        return str(said.get("message") or said.get("error") or self.text.strip() or self.reason or "no message")

    def checked(self) -> Reply:
        """Returns this answer. Raises StatusError if its status is an error."""
        if not self.ok:
            raise of_status(self.status_code, self.message, self.retry_after)
        return self

    def value(self) -> Any:
        """The body's value. Raises StatusError, or BadAnswer where it is not JSON."""
        try:
            return self.checked().json()
        except ValueError:
            raise BadAnswer(f"The answer is not JSON but begins with {self.content[:40]!r}; use request().") from None
