"""Checks tokens: the inference token of the key file, and the tokens of ``inference_token_file``.

Both files are read again after a second. On one machine, ``make serve ENGINE=ray`` writes the key file and renews its
token. A token stays valid until it expires, even if the file has a newer one.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

LEAST = 32  # characters of a token that does not expire (serving/config.py)
AGE_S = 1.0
EARLY_S = 120.0  # a token is renewed this long before it expires; clients need half a minute
FORMAT = "%Y-%m-%dT%H:%M:%S"


class Tokens:
    """The tokens that the inference API accepts. ``required`` is false if config.properties turns tokens off."""

    def __init__(self, required: bool, key_file: str = "", token_file: str = "") -> None:
        self._required, self._key_file, self._token_file = required, key_file, token_file
        self._read_at = float("-inf")
        self._lasting: list[bytes] = []
        self._expiring: dict[bytes, float] = {}

    def admit(self, authorization: str | None) -> bool:
        """Whether an Authorization header holds a valid token."""
        if not self._required:
            return True
        words = (authorization or "").split(" ")
        if len(words) != 2 or words[0] != "Bearer":
            return False
        if time.monotonic() - self._read_at > AGE_S:
            self._read()
        now, given = time.time(), words[1].encode()
        valid = [*self._lasting, *(each for each, until in self._expiring.items() if until > now)]
        return sum(hmac.compare_digest(each, given) for each in valid) > 0  # all, so that the time gives no hint

    def expires(self) -> float | None:
        """When the last expiring token expires, in seconds since 1970; None without one."""
        found = current(Path(self._key_file)) if self._required and self._key_file else None
        return found[1] if found else None

    def _read(self) -> None:
        self._read_at, now = time.monotonic(), time.time()
        self._lasting = _lines(self._token_file) if self._token_file else []
        self._expiring = {each: until for each, until in self._expiring.items() if until > now}
        if self._key_file and (found := current(Path(self._key_file))):
            self._expiring[found[0].encode()] = found[1]


def _lines(path: str) -> list[bytes]:
    """The file's tokens; none if it cannot be read."""
    try:
        found = [line.strip() for line in Path(path).read_text(encoding="utf-8").split("\n")]
    except (OSError, ValueError):
        return []
    return [each.encode() for each in found if len(each) >= LEAST]


def current(key_file: Path) -> tuple[str, float] | None:
    """(the inference token of a key file, the time at which it expires), or None."""
    try:
        entry = json.loads(key_file.read_text())["inference"]
        until = datetime.strptime(entry["expiration time"].rstrip("Z"), FORMAT).replace(tzinfo=timezone.utc)
        return str(entry["key"]), until.timestamp()
    except (OSError, ValueError, KeyError, TypeError):
        return None


def renew(key_file: Path, minutes: float) -> float:
    """Writes a key file with a new token, in TorchServe's form, and returns the time at which it is to be renewed."""
    until = datetime.now(timezone.utc) + timedelta(minutes=minutes)
    written = {"inference": {"key": secrets.token_urlsafe(24), "expiration time": f"{until:{FORMAT}}Z"}}
    aside = key_file.with_name(f".{key_file.name}.part")
    aside.unlink(missing_ok=True)
    with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(written, file)
    aside.replace(key_file)
    return until.timestamp() - min(EARLY_S, minutes * 60 / 2)
