"""``python -m export.extras VARIANTS``: the extras of pyproject.toml that these variants need; without a name, those of
all variants.

``--chosen MODELS``: the extras of the variants that models.toml chooses for these models; without a name, for all
models. The Makefile calls it before anything is installed, so it needs the standard library alone.
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
    """The extras for what models.toml chooses for the models of these names; those of all engines where Python 3.10
    cannot read that file yet. None for a file with a mistake, which make archive then reports."""
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
