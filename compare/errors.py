"""What a user of make compare can do something about."""


class CompareError(Exception):
    """One sentence: what was given or found, what was expected, and the cure where there is one."""
