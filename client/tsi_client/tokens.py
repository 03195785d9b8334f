"""Sources of tokens: a text, a file, or any object with ``get`` and ``renew``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Protocol

from tsi_client.errors import TokenError


class TokenSource(Protocol):
    """A client asks it for its token. Both methods may wait ``timeout`` seconds for a file or the network, and raise
    ``Error``."""

    def get(self, timeout: float) -> str:
        """The token to send now."""

    def renew(self, refused: str, timeout: float) -> str:
        """A token other than ``refused``, which the server did not take; ``refused`` where there is none."""


class FixedToken:
    """A token that stays as it is."""

    def __init__(self, token: str) -> None:
        if not _is_token(token):
            raise TokenError("The token is empty or has blanks; pass it as the server gave it.")
        self._token = token

    def get(self, timeout: float = 0) -> str:
        """The token."""
        return self._token

    def renew(self, refused: str, timeout: float = 0) -> str:
        """The same token: there is no other."""
        return self._token


class TokenFile:
    """A file with a token, or TorchServe's key file: read again for each call, since others may replace it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    def get(self, timeout: float = 0) -> str:
        """The token that the file holds now. Raises TokenError."""
        try:
            text = self._path.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise TokenError(f"{self._path} cannot be read ({why}); name a readable file.") from None
        try:
            token = json.loads(text)["inference"]["key"] if text.startswith("{") else text
        except (ValueError, KeyError, TypeError):
            token = ""
        if not _is_token(token):
            raise TokenError(f"{self._path} holds no token; name a file with one, or TorchServe's key_file.json.")
        return str(token)

    def renew(self, refused: str, timeout: float = 0) -> str:
        """The token that the file holds now; equal to ``refused`` if the file was not replaced. Raises TokenError."""
        return self.get()


def _is_token(found: object) -> bool:
    return isinstance(found, str) and bool(found) and all("!" <= sign <= "~" for sign in found)


def source_of(token: str | os.PathLike[str] | TokenSource | None) -> TokenSource | None:
    """The source for a client's ``token``: a text is the token, a path names a file that holds it."""
    if isinstance(token, str):
        return FixedToken(token)
    return TokenFile(token) if isinstance(token, os.PathLike) else token
