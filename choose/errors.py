"""What stops a choice before it is made; each message names the cure."""

from __future__ import annotations


class ChooseError(Exception):
    """What was asked cannot be chosen as asked."""
