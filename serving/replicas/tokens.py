"""The token that all replicas accept, in two files of the run folder. Only its owner can read them.

``token`` has the present token, for clients on this machine. ``tokens`` has all valid ones, one per line: the present
one, the one before, the next one, the balancer's own, and those of the user's inference_token_file. The replicas' front
ends read a changed file within a second or two (MountedTokens.java), so a new token needs no restart. All replicas know
the next token long before a client gets it.
"""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

from serving.config import Config
from serving.state import TOKENS

PRESENT, VALID = TOKENS
DEFAULT_MINUTES = 60.0  # TorchServe's default, for token_expiration_min


class Tokens:
    """The tokens in ``folder``. A token is given out for token_expiration_min, and stays valid for as long again."""

    def __init__(self, folder: Path, config: Config) -> None:
        self.present, self.valid, self._config = folder / PRESENT, folder / VALID, config

    def make(self) -> None:
        """Makes new tokens. The old ones become invalid."""
        if not self._config.asks_tokens:
            return
        self._write(_new(), _new(), _new(), _new())

    def balancers(self) -> str:
        """The token of the balancer's health checks, which clients do not get; empty if tokens are off."""
        return self.valid.read_text().splitlines()[3] if self._config.asks_tokens else ""

    def refresh(self) -> None:
        """Replaces a token that is over, and reads the user's file again. Called about once a second."""
        if not self._config.asks_tokens:
            return
        now, before, following, balancers, *others = self.valid.read_text().splitlines()
        if time.time() - self.present.stat().st_mtime > self._seconds():
            self._write(following, now, _new(), balancers)
        elif others != self._users():
            self._write(now, before, following, balancers)

    def _seconds(self) -> float:
        return 60 * float(self._config.properties.get("token_expiration_min") or DEFAULT_MINUTES)

    def _users(self) -> list[str]:
        """The user's tokens; none if the file cannot be read, as for a single server."""
        path = self._config.token_path
        try:
            return [line.strip() for line in path.read_text().splitlines() if line.strip()] if path else []
        except (OSError, ValueError):
            return []

    def _write(self, now: str, *own: str) -> None:
        _replace(self.valid, "\n".join((now, *own, *self._users())) + "\n")
        if not self.present.exists() or self.present.read_text().strip() != now:
            _replace(self.present, f"{now}\n")


def _new() -> str:
    return secrets.token_hex(32)


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.part")
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    partial.replace(path)
