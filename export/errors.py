"""Mistakes of the user that a build reports in one sentence, with the cure in it."""

from __future__ import annotations


class CheckpointError(Exception):
    """A checkpoint cannot be had, cannot be read or does not fit; the message names the ways out."""
