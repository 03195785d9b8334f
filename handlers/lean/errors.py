"""The error that the conversion to lean networks raises."""

from __future__ import annotations


class LeanError(Exception):
    """A model that has no lean form: one sentence with the setting that is not supported and what to use instead."""


def refusal(what: str) -> str:
    """The sentence of a LeanError; ``what`` names the family and its setting."""
    return f"graph cannot run this model: {what}; use fp16 or another variant."
