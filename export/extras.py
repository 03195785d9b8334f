"""``python -m export.extras VARIANTS``: the extras of pyproject.toml that these variants need; of all without a name.

For the Makefile, which asks before anything is installed: needs the standard library alone.
"""

from __future__ import annotations

import sys

from export.catalog import ENGINES, VARIANTS
from serving.choice import words


def extras(names: list[str]) -> list[str]:
    """The extras for the variants of these names, in the order of the catalog's engines."""
    steps = {step for row in VARIANTS if not names or row.name in names for step in row.steps}
    return [engine.extra for engine in ENGINES if engine.step in steps]


if __name__ == "__main__":
    print(*extras(words(" ".join(sys.argv[1:]))))
