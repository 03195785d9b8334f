"""Errors that stop a choice before it is made. Each message says what to do."""

from __future__ import annotations


class ChooseError(Exception):
    """The question cannot be answered as it was asked."""
