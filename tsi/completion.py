"""Shell completion of verbs, variables and their values. Slow or failing look-ups complete nothing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from click.shell_completion import BashComplete, CompletionItem, FishComplete, add_completion_class

from tsi import places
from tsi.table import TOOL, VARIABLES, Verb, reads


class Bash(BashComplete):
    """No space follows a variable's name and "=". Bash splits words at "=", so the value is a separate word."""

    source_template = BashComplete.source_template.replace(
        "    return 0\n", '    [[ ${COMPREPLY[0]-} == *= ]] && compopt -o nospace\n    return 0\n'
    )


class Fish(FishComplete):
    """A value may contain commas, but Click's script takes only the part before the first one."""

    source_template = FishComplete.source_template.replace('string split ","', 'string split --max 1 ","')


add_completion_class(Bash)
add_completion_class(Fish)


def word(verbs: list[Verb], before: list[str], incomplete: str) -> list[CompletionItem]:
    """Completions of a word after the verbs and the words between."""
    names = reads(verbs)
    if incomplete == "=" and before and before[-1] in names:
        return values(before[-1], "")
    if len(before) > 1 and before[-1] == "=" and before[-2] in names:
        return values(before[-2], incomplete)
    name, equals, start = incomplete.partition("=")
    if equals and name in names:
        found = values(name, start)
        return [CompletionItem(f"{name}={each.value}", each.type) if each.type == "plain" else each for each in found]
    others = [] if before else [each for each in TOOL if each not in {verb.name for verb in verbs}]
    return [CompletionItem(each) for each in (*others, *(f"{name}=" for name in names)) if each.startswith(incomplete)]


def values(name: str, incomplete: str) -> list[CompletionItem]:
    """Completions of a variable's value; of a list, its last item."""
    variable = VARIABLES[name]
    if variable.kind in ("file", "folder"):
        return [CompletionItem(incomplete, "file" if variable.kind == "file" else "dir")]
    head, comma, last = incomplete.rpartition(",")
    known = {"models": models, "variants": variants, "archive": archives}.get(variable.kind, lambda: variable.values)()
    return [CompletionItem(f"{head}{comma}{each}") for each in known if each and each.startswith(last)]


def models() -> tuple[str, ...]:
    """The names of the catalog's models and of those in models.toml."""
    os.environ.setdefault("MODELS_FILE", str(Path.cwd() / "models.toml"))
    sys.path.insert(0, str(places.CODE))
    try:
        from export.catalog import models as known

        return tuple(model.name for model in known())
    except Exception:  # an error in models.toml, which the verb will report
        return ()


def variants() -> tuple[str, ...]:
    """The names of the catalog's variants."""
    sys.path.insert(0, str(places.CODE))
    from export.catalog import VARIANTS

    return tuple(dict.fromkeys(row.name for row in VARIANTS))


def archives() -> tuple[str, ...]:
    """The names of the archives in the store."""
    store = Path(os.environ.get("TSI_MODEL_STORE") or "model_store")
    return tuple(sorted(path.stem for path in store.glob("*.mar")))
