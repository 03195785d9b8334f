"""The variables of a verb, from the command line and the environment, by the rules of the Makefile.

Shells export names such as HOST and OUT for other purposes, so from the environment only TSI_<NAME> is read.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from tsi.table import EITHER, VARIABLES, Verb, reads

PREFIX, WEIGHTS = "TSI_", "_WEIGHTS"
NAMES = frozenset(VARIABLES) - set(EITHER)


class VariableError(Exception):
    """A word of the command line that sets no variable of the verb."""


def given(verbs: Sequence[Verb], words: Sequence[str]) -> dict[str, str]:
    """The variables that words of the form ``NAME=value`` set. Raises VariableError."""
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise VariableError(f"{word!r} is neither a verb nor a variable; write variables as in MODELS=minilm")
        _check(name, list(verbs))
        found[name] = value
    return found


def _check(name: str, verbs: list[Verb]) -> None:
    known, of = reads(verbs), " ".join(verb.name for verb in verbs)
    if name in known or (name.endswith(WEIGHTS) and "WEIGHTS" in known):
        return
    if name in VARIABLES:
        raise VariableError(f"tsi {of} does not read {name}; tsi {of} --help lists what it reads")
    close = difflib.get_close_matches(name.upper(), known, 1)
    meant = f"did you mean {close[0]}?" if close else f"tsi {of} --help lists the variables"
    raise VariableError(f"There is no variable {name}; {meant}")


def environment(verbs: Sequence[Verb], given: Mapping[str, str], shell: Mapping[str, str]) -> dict[str, str]:
    """The environment of a verb's process: the shell's without plain names of variables, and the given variables."""
    found = {name: value for name, value in shell.items() if name not in NAMES and not name.startswith(PREFIX)}
    prefixed = {name: shell[PREFIX + name] for name in (*NAMES, "STORE_KEY") if PREFIX + name in shell}
    weights = " ".join(name for name in given if name.endswith(WEIGHTS))
    return {**found, **prefixed, **given, "WEIGHTS_GIVEN": weights}


def notes(verbs: Sequence[Verb], given: Mapping[str, str], shell: Mapping[str, str]) -> list[str]:
    """A line on variables of the shell that are not read, and one on TSI_ names that do not exist."""
    ignored = [name for name in sorted(set(reads(list(verbs))) & NAMES)
               if shell.get(name) and name not in given and PREFIX + name not in shell]  # fmt: skip
    known = {PREFIX + name for name in (*NAMES, *EITHER)}
    unknown = sorted(name for name in shell if name.startswith(PREFIX) and name not in known)
    found = []
    if ignored:
        found.append(
            f"Not read from the environment: {' '.join(ignored)}; write tsi {verbs[0].name} "
            f"{' '.join(f'{name}=...' for name in ignored)} or set {' '.join(PREFIX + name for name in ignored)}."
        )
    return found + ([f"There is no such variable: {' '.join(unknown)}."] if unknown else [])
