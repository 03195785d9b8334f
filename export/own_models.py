"""The user's own models: reads the rows of models.toml, and makes a row for ``make archive MODEL=``.

A row has only values that the checkpoint does not state. All others are read from the checkpoint at each build. Does
not import torch, so that a wrong folder or a wrong choice is refused at once. docs/models-toml.md is the page for
users.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.catalog import MODELS, PHOTO, TEXT, CatalogError, Model, Source
from export.errors import CheckpointError
from export.tasks import TASKS
from serving.model_settings import CHOICE, read_tables
from serving.model_settings import KEYS as SERVING_KEYS
from serving.models_file import child, edited, models_file
from serving.store import NAME

# The keys of a row, each with its make variable.
VARIABLES = {
    "task": "TASK", "architecture": "ARCH", "labels": "LABELS", "pooling": "POOLING", "max_length": "MAX_LENGTH",
    "example": "EXAMPLE", "expect": "EXPECT", "handler": "HANDLER",
}  # fmt: skip
OPTIONS = ("architecture", "labels", "pooling", "max_length")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp", ".gif": "image/gif",
         ".bmp": "image/bmp", ".json": "application/json", ".txt": "text/plain"}  # fmt: skip

# If the URL of a management request has "/token", TorchServe handles it as a renewal of tokens and answers 401.
TAKEN = "token"
RESERVED = 'begins with "token", and TorchServe could not serve it'


def own_models(path: Path | None = None) -> list[Model]:
    """The models of models.toml: the tables with a ``source``. The other tables are settings of built-in models.

    Raises CatalogError for a row that cannot be used.
    """
    path = path or models_file()
    tables = read_tables(path)
    for name in (name for name, row in tables.items() if "handler" in row and "source" not in row):
        raise CatalogError(
            f"{path}: [{name}] has a handler and no source; only a model of your own can have a handler: make archive "
            f"MODEL=/path HANDLER=/path/mine.py NAME=another-name."
        )
    return [_model(path, name, row) for name, row in tables.items() if "source" in row]


def _model(path: Path, name: str, row: Mapping[str, Any]) -> Model:
    where = f"{path}: [{name}]"
    if any(name == model.name for model in MODELS):
        raise CatalogError(f"{where} has a source and the name of a built-in model; give it another name.")
    if not NAME.fullmatch(name):
        raise CatalogError(f"{where} is no usable name; use letters, digits, '.', '_' and '-', not '.' or '-' first.")
    if name.startswith(TAKEN):
        raise CatalogError(f"{where} {RESERVED}; give it another name.")
    if unknown := sorted(set(row) - {"source", "variants", *VARIABLES, *SERVING_KEYS, *CHOICE}):
        known = ", ".join(["source", *VARIABLES, *SERVING_KEYS, *CHOICE])
        raise CatalogError(f"{where} has the unknown key {unknown[0]!r}; known keys: {known}.")
    for key, value in row.items():
        wanted = int if key == "max_length" else str
        if key in ("source", *VARIABLES) and (not isinstance(value, wanted) or isinstance(value, bool)):
            raise CatalogError(f"{where} {key} is {value!r}; expected {'a number' if wanted is int else 'a string'}.")
    tasks = [task for task, each in TASKS.items() if each.kind != "none"]
    if row.get("task") not in tasks:
        problem = f"task is {row['task']!r}" if "task" in row else "has no task"
        raise CatalogError(f"{where} {problem}; expected one of {', '.join(tasks)}.")
    if row.get("expect") and not TASKS[row["task"]].headline:
        raise CatalogError(f"{where} expect is {row['expect']!r}, and {row['task']} answers in numbers: leave it out.")
    return model_of_row(name, row)


def model_of_row(name: str, row: Mapping[str, Any]) -> Model:
    """The model of a row whose keys have been checked."""
    task = row["task"]
    return Model(
        name, task, source_of(row["source"]), {key: row[key] for key in OPTIONS if key in row},
        example_of(row["example"]) if "example" in row else {}, row.get("expect", ""),
        TEXT if TASKS[task].kind == "text" else PHOTO, handler=row.get("handler", ""),
    )  # fmt: skip


def existing(text: str) -> Path | None:
    """The file or folder at the path ``text``. None if there is none, or if the text is not a path."""
    try:
        path = Path(text).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):  # for example a name that is too long, no such home, a zero byte
        return None


def source_of(text: str) -> Source:
    """The source of a text: a path on this machine, or a hub id with its revision."""
    if (path := existing(text)) or not HUB_ID.fullmatch(text):
        return Source("local", str(path or text))
    repository, _, revision = text.partition("@")
    return Source("hub", repository, revision)


def example_of(text: str) -> dict[str, str]:
    """The example of a user's text, which is a file's path, JSON, or a plain text."""
    if (path := existing(text)) and path.is_file():
        content_type = TYPES.get(path.suffix.lower(), "application/octet-stream")
        return {"content_type": content_type, "file": str(path.resolve())}
    as_json = text.lstrip().startswith("{")
    return {"content_type": "application/json" if as_json else "text/plain", "text": text}


def wanted_row(environment: Mapping[str, str]) -> tuple[str, dict[str, Any]] | None:
    """(name, row) of the model of MODEL=; None without MODEL=. The row's task may still be missing.

    Raises CatalogError for a name or a value that cannot be used.
    """
    given = {key: environment[variable] for key, variable in VARIABLES.items() if environment.get(variable)}
    source, name = environment.get("MODEL", ""), environment.get("NAME", "")
    if not source:
        if given or name:
            variable = VARIABLES[next(iter(given))] if given else "NAME"
            raise CatalogError(f"{variable}= describes the model of MODEL=, which is missing; add MODEL=/path.")
        return None
    name = name or _name_of(source)
    if not NAME.fullmatch(name):
        raise CatalogError(f"NAME is {name!r}; expected letters, digits, '.', '_' and '-', a letter or digit first.")
    if name.startswith(TAKEN):
        raise CatalogError(f"{name} {RESERVED}; choose another with NAME=.")
    if any(name == model.name for model in MODELS):
        raise CatalogError(f"{name} is the name of a built-in model; choose another with NAME=.")
    row: dict[str, Any] = {"source": _absolute(source), **given}
    if "max_length" in row:
        row["max_length"] = _number(row["max_length"])
    for key in ("labels", "example", "handler"):
        if key in row:
            row[key] = _absolute(row[key])
    return name, row


def _absolute(text: str) -> str:
    """The absolute path of a file or folder that exists; any other text unchanged."""
    path = existing(text)
    return str(path.resolve()) if path else text


def _name_of(source: str) -> str:
    """The name for a source: the name of its folder or file, or the last part of a hub id."""
    path = existing(source)
    last = path.resolve().name if path else source.partition("@")[0].rstrip("/").rpartition("/")[2]
    stem = Path(last).stem if path and path.is_file() else last
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.")


def _number(text: str) -> int:
    if not text.isdecimal():
        raise CatalogError(f"MAX_LENGTH is {text!r}; expected a whole number of tokens.")
    return int(text)


def adopt(environment: Mapping[str, str]) -> tuple[Model, dict[str, Any]] | None:
    """The model of MODEL= and its row, completed from its checkpoint; None without MODEL=.

    Writes nothing. Raises CatalogError or CheckpointError.
    """
    wanted = wanted_row(environment)
    if wanted is None:
        return None
    name, row = wanted
    if Path(row["source"]).is_absolute() and not existing(row["source"]):
        raise CheckpointError(
            f"There is no {row['source']}; MODEL= takes a checkpoint's folder, a weights file or a hub id."
        )
    known = {model.name: model for model in own_models()}
    if name in known and not _same_place(known[name].source, source_of(row["source"])):
        other = known[name].source.name
        raise CatalogError(f"{name} is {other} in {models_file()}; choose another name with NAME=.")
    # Earlier values for the same checkpoint are kept, except those that this call changes.
    recorded = read_tables(models_file()).get(name, {})
    row = _inspected({**{key: recorded[key] for key in VARIABLES if key in recorded}, **row})
    _check_example(row)
    if row.get("expect") and not TASKS[row["task"]].headline:
        raise CatalogError(f"EXPECT is {row['expect']!r}, and {row['task']} answers with numbers: leave it out.")
    return model_of_row(name, row), row


def _check_example(row: Mapping[str, Any]) -> None:
    """Refuses a text as the example of an image model, since it is usually a misspelt file name."""
    if "example" in row and TASKS[row["task"]].kind == "image" and "file" not in example_of(row["example"]):
        raise CatalogError(
            f"EXAMPLE is {row['example']!r}, and there is no such file; {row['task']} takes an image file."
        )


def _same_place(one: Source, other: Source) -> bool:
    """Whether two sources are the same checkpoint. The commits of a hub id may differ."""
    return (one.kind, one.name) == (other.kind, other.name)


def _inspected(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its task. A hub id gets the commit that was read."""
    from export.checkpoints import inspect

    source, task = inspect(source_of(row["source"]), row)
    return {**row, "source": source.name + (f"@{source.revision}" if source.revision else ""), "task": task}


def record(name: str, row: Mapping[str, Any], path: Path | None = None) -> None:
    """Writes the row into models.toml. Comments, other keys and other tables are kept."""
    with edited(path or models_file()) as document:
        table = child(document, name)
        for key in ("source", *VARIABLES):
            if key in row:
                table[key] = row[key]
            elif key in table:
                del table[key]
