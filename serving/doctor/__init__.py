"""Says what on this machine would stop ``make serve``, one line per check, each with its cure.

Runs before anything is installed: the standard library alone, unless a check says that it needs more. Changes nothing.
"""
