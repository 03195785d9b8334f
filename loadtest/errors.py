"""What stops a load test before it has measured; each message names the cure."""

from __future__ import annotations


class LoadTestError(Exception):
    """The load test cannot be run, or its record cannot be read, as asked."""


class EndedEarlyError(LoadTestError):
    """Going on would measure nothing; what has been measured is on disk."""
