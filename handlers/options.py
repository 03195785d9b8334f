"""Options of a request: which a task has, and which values each takes.

They come as ``"parameters": {...}`` in the JSON body, as fields of a form beside the image or text, or in the query
string, where every value is a string. TorchServe 0.12 hands the query string on for ``/<model>/predict`` only, not for
``/predictions/<model>``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

from handlers.errors import RequestError


class Option(Protocol):
    """Reads one option's value. Raises RequestError. ``default`` is the value of a request that gives none; where it is
    None, the request's options lack the name."""

    @property
    def default(self) -> Any:
        """The value of a request that gives none."""

    def read(self, name: str, value: Any) -> Any:
        """The value for the option ``name``, from JSON or from text."""


@dataclass(frozen=True)
class Whole:
    """A whole number from ``low`` to ``high``."""

    low: int
    high: int
    default: int | None = None

    def read(self, name: str, value: Any) -> int:
        """The number, from a number or from its digits."""
        text = as_text(value)
        number = int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else value
        if isinstance(number, bool) or not isinstance(number, int) or not self.low <= number <= self.high:
            raise RequestError(f'"{name}" must be a whole number from {self.low} to {self.high}.')
        return number


@dataclass(frozen=True)
class Number:
    """A number from ``low`` to ``high``, whole or not."""

    low: float
    high: float
    default: float | None = None

    def read(self, name: str, value: Any) -> float:
        """The number, from a number or from its digits."""
        text = as_text(value)
        try:
            number = float(value if text is None else text)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if isinstance(value, bool) or not self.low <= number <= self.high:
            raise RequestError(f'"{name}" must be a number from {self.low:g} to {self.high:g}.')
        return number


@dataclass(frozen=True)
class OneOf:
    """One of ``values``."""

    values: tuple[str, ...]
    default: str | None = None

    def read(self, name: str, value: Any) -> str:
        """The value as a string."""
        text = as_text(value)
        if text not in self.values:
            raise RequestError(f'"{name}" must be one of {", ".join(self.values)}.')
        return text


@dataclass(frozen=True)
class Text:
    """A text of at most ``longest`` characters, not blank."""

    longest: int
    default: None = None

    def read(self, name: str, value: Any) -> str:
        """The text."""
        text = as_text(value)
        if text is None or not text.strip() or len(text) > self.longest:
            raise RequestError(f'"{name}" must be a text of 1 to {self.longest} characters.')
        return text


def as_text(value: Any) -> str | None:
    """A string, or the string of UTF-8 bytes; None for anything else."""
    if isinstance(value, (bytes, bytearray)):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None
    return value if isinstance(value, str) else None


def read_options(options: dict[str, Option], given: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """``defaults`` with the values that a request gave. Raises RequestError for an unknown name or a wrong value."""
    if not given:
        return defaults
    for name in given:
        if name not in options:
            known = ", ".join(options) or "none"
            raise RequestError(f'"parameters" has an option that this model does not know; it knows: {known}.')
    return {**defaults, **{name: options[name].read(name, value) for name, value in given.items()}}
