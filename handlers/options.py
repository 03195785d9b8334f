"""The options of a request and the values that each option accepts.

A request gives options as ``"parameters": {...}`` in the JSON body, as fields of a form, or in the query string. In the
query string every value is a string. TorchServe 0.12 passes the query string to the worker for ``/<model>/predict``,
but not for ``/predictions/<model>``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

from handlers.errors import RequestError


class Option(Protocol):
    """Reads one option's value. Raises RequestError."""

    @property
    def default(self) -> Any:
        """The value for requests without this option. None: their options do not have the name."""

    def read(self, name: str, value: Any) -> Any:
        """The checked value of the option ``name``, from a JSON value or from text."""


@dataclass(frozen=True)
class Whole:
    """An option that is an integer from ``low`` to ``high``."""

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
    """An option that is a number from ``low`` to ``high``."""

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
    """An option that is one of ``values``."""

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
    """An option that is a text of at most ``longest`` characters, not blank."""

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
    """``defaults``, updated with the options of a request. Raises RequestError for an unknown name or wrong value."""
    if not given:
        return defaults
    for name in given:
        if name not in options:
            known = ", ".join(options) or "none"
            raise RequestError(f'"parameters" has an option that this model does not know; it knows: {known}.')
    return {**defaults, **{name: options[name].read(name, value) for name, value in given.items()}}
