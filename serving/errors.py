"""Errors of starting, stopping and calling the server. Each message says what to do."""

from __future__ import annotations


class ServingError(Exception):
    """The server cannot be started, stopped or reached."""
