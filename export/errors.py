"""Errors of export that a user can do something about: one sentence that names what was given and the way out."""

from __future__ import annotations


class CheckpointError(Exception):
    """A user's checkpoint cannot be read, or is of a kind that is not supported."""
