"""Checks for what would stop ``make serve`` on this machine: one line per check, with the fix.

Runs before anything is installed, so it needs the standard library alone, unless a check says otherwise. Changes
nothing.
"""
