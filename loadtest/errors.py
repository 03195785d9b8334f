"""Errors that stop a load test before it measures. Each message names the fix."""

from __future__ import annotations


class LoadTestError(Exception):
    """The load test cannot run as asked, or its record cannot be read."""


class EndedEarlyError(LoadTestError):
    """Further loads would give no result. The results so far are on disk."""
