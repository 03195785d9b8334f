"""Reads lists of names from settings: MODELS, VARIANTS."""

from __future__ import annotations


def words(text: str) -> list[str]:
    """The names in ``text``, which commas, blanks or both separate."""
    return text.replace(",", " ").split()
