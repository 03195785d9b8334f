"""Errors that a user of make compare can fix."""


class CompareError(Exception):
    """One sentence: what was given or found, what was expected, and the fix if there is one."""
