"""The names of an image classifier's classes, from a user's file or from the checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from export.errors import CheckpointError

FORMS = "expected a label per line, a JSON list, or a JSON object of index and label"


def choose_labels(
    given: Path | None, known: tuple[str, ...], classes: int, source: Path, required: bool = True
) -> tuple[str, ...]:
    """The labels of a network with ``classes`` outputs: those of the user's file ``given``, else those of the
    checkpoint, ``known``.

    Raises CheckpointError if there are none, since numbers as labels would say nothing. If not ``required``, labels may
    be absent.
    """
    labels = read_labels(given) if given else known
    if not labels and not required:
        return ()
    if not labels:
        raise CheckpointError(
            f"{source} has {classes} classes and no names for them; give LABELS=/file with a label per line."
        )
    if len(labels) != classes:
        raise CheckpointError(
            f"{given or source} names {len(labels)} labels and the network of {source} has {classes} classes; "
            "give LABELS=/file with a label for each class."
        )
    return labels


def read_labels(path: Path) -> tuple[str, ...]:
    """The labels of a file, in the order of the classes. Raises CheckpointError for a file of another form."""
    if not path.is_file():
        raise CheckpointError(f"LABELS is {path}, and there is no such file; give a file that has {FORMS[9:]}.")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"The labels {path} cannot be read ({type(error).__name__}); {FORMS}.") from None
    if text.lstrip().startswith(("[", "{")):
        try:
            return _from_json(json.loads(text), path)
        except json.JSONDecodeError as error:
            raise CheckpointError(f"The labels {path} are no valid JSON ({error}); {FORMS}.") from None
    lines = [line.strip() for line in text.rstrip().splitlines()]
    if not all(lines):
        raise CheckpointError(f"The labels {path} have an empty line {lines.index('') + 1}; {FORMS}.")
    return tuple(lines)


def _from_json(value: Any, path: Path) -> tuple[str, ...]:
    if isinstance(value, dict):
        return by_index(value, path)
    if not all(isinstance(each, str) for each in value):
        raise CheckpointError(f"The labels {path} are a list with values that are not strings; {FORMS}.")
    return tuple(value)


def by_index(value: dict[Any, Any], where: Path) -> tuple[str, ...]:
    """The labels of {"0": "cat", ...}, or of {"cat": 0, ...}, which torchvision's ImageFolder has."""
    if all(isinstance(each, int) for each in value.values()):
        value = {index: label for label, index in value.items()}
    try:
        named = {int(index): label for index, label in value.items()}
    except ValueError:
        named = {}
    if sorted(named) != list(range(len(value))) or not all(isinstance(label, str) for label in named.values()):
        raise CheckpointError(f"The labels of {where} are not numbered from 0 without gaps; {FORMS}.")
    return tuple(named[index] for index in range(len(named)))
