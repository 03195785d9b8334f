"""Reads lists of names, such as MODELS and VARIANTS, as make passes them."""

from __future__ import annotations

from collections.abc import Mapping


def names(environment: Mapping[str, str], variable: str) -> list[str]:
    """The variable's names, separated by blanks or commas; none when it is unset or empty."""
    return words(environment.get(variable, ""))


def words(text: str) -> list[str]:
    """The names in ``text``, which commas, blanks or both separate."""
    return text.replace(",", " ").split()
