"""Mistakes of the user. A build reports each in one sentence that says how to fix it."""

from __future__ import annotations


class CheckpointError(Exception):
    """A checkpoint cannot be had, cannot be read or does not fit; the message says what to do."""
