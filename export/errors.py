"""The error for user mistakes. A build reports a mistake in one sentence that says how to fix it."""

from __future__ import annotations


class CheckpointError(Exception):
    """A checkpoint is not available, cannot be read or does not fit. The message says what to do."""
