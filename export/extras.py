"""``python -m export.extras VARIANTS`` prints the extras of pyproject.toml that the variants need. Without a name, it
prints those of all variants.

``--chosen MODELS`` prints the extras of the variants that models.toml chooses for the models; without a name, for all
models. The Makefile calls this before anything is installed, so it needs only the standard library.
"""

from __future__ import annotations

import sys

from export.catalog import ENGINES, VARIANTS, CatalogError, models
from serving.choice import words
from serving.chosen import Choices
from serving.errors import ServingError


def extras(names: list[str]) -> list[str]:
    """The extras for the variants of these names, in the order of the catalog's engines."""
    return _of({step for row in VARIANTS if not names or row.name in names for step in row.steps})


def chosen_extras(names: list[str]) -> list[str]:
    """The extras for the choices of models.toml for the models of these names. Python 3.10 may not be able to read that
    file yet; the result is then the extras of all engines. For a file with a mistake, the result is empty, and make
    archive reports the mistake later."""
    try:
        choices = Choices.load()
        chosen = [each for each in models() if not names or each.name in names] if choices.models else []
    except ModuleNotFoundError:
        return extras([])
    except (CatalogError, ServingError):
        return []
    wanted = {(variant, each.kind) for each in chosen for variant in choices.variants(each.name)}
    return _of({step for row in VARIANTS for kind in row.kinds if (row.name, kind) in wanted for step in row.steps})


def _of(steps: set[str]) -> list[str]:
    return [engine.extra for engine in ENGINES if engine.step in steps]


if __name__ == "__main__":
    given = sys.argv[1:]
    print(*(chosen_extras(words(" ".join(given[1:]))) if given[:1] == ["--chosen"] else extras(words(" ".join(given)))))
