"""Imports Locust, with which gevent patches the standard library. A program that measures imports this module first of
all, before what is patched.

gevent announces each of 25 steps to plugins, which it looks for in the metadata of every installed package anew: more
than half of the time that the import takes. Here they are looked for once.
"""

from __future__ import annotations

from importlib import metadata
from typing import Any

_ask = metadata.entry_points
_found: Any = _ask()
metadata.entry_points = lambda **of: _found.select(**of)
try:
    import locust  # noqa: F401 - for its patches
finally:
    metadata.entry_points = _ask
