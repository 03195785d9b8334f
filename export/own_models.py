"""The user's own models: the rows of models.toml, and how ``make archive MODEL=`` makes one.

A row holds what the checkpoint does not say itself; everything else is read from the checkpoint at each build. Imports
no torch: a wrong folder or a wrong choice is refused before anything is loaded. docs/models-toml.md is the page for
users.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.catalog import MODELS, PHOTO, TEXT, CatalogError, Model, Source
from export.tasks import TASKS
from serving.model_settings import KEYS as SERVING_KEYS
from serving.model_settings import models_file, read_tables

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# Keys of a row, with the variable of make that each comes from.
VARIABLES = {
    "task": "TASK", "architecture": "ARCH", "labels": "LABELS", "pooling": "POOLING", "max_length": "MAX_LENGTH",
    "example": "EXAMPLE", "expect": "EXPECT",
}  # fmt: skip
OPTIONS = ("architecture", "labels", "pooling", "max_length")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp", ".gif": "image/gif",
         ".bmp": "image/bmp", ".json": "application/json", ".txt": "text/plain"}  # fmt: skip


def own_models(path: Path | None = None) -> list[Model]:
    """The rows of models.toml that have a ``source``; the other tables only set how a built-in model is served.

    Raises CatalogError for a row that cannot be used.
    """
    path = path or models_file()
    return [_model(path, name, row) for name, row in read_tables(path).items() if "source" in row]


def _model(path: Path, name: str, row: Mapping[str, Any]) -> Model:
    where = f"{path}: [{name}]"
    if any(name == model.name for model in MODELS):
        raise CatalogError(f"{where} has a source and the name of a built-in model; give it another name.")
    if unknown := sorted(set(row) - {"source", "variants", *VARIABLES, *SERVING_KEYS}):
        known = ", ".join(["source", *VARIABLES, *SERVING_KEYS])
        raise CatalogError(f"{where} has the key {unknown[0]!r}, which nothing reads; known keys: {known}.")
    for key, value in row.items():
        wanted = int if key == "max_length" else str
        if key in ("source", *VARIABLES) and not isinstance(value, wanted):
            raise CatalogError(f"{where} {key} is {value!r}; expected {'a number' if wanted is int else 'a string'}.")
    if row.get("task") not in TASKS:
        raise CatalogError(f"{where} task is {row.get('task')!r}; expected one of {', '.join(TASKS)}.")
    return model_of_row(name, row)


def model_of_row(name: str, row: Mapping[str, Any]) -> Model:
    """The model of a row whose keys are known to be good."""
    task = row["task"]
    return Model(
        name, task, source_of(row["source"]), {key: row[key] for key in OPTIONS if key in row},
        example_of(row["example"]) if "example" in row else {}, row.get("expect", ""),
        TEXT if TASKS[task].kind == "text" else PHOTO,
    )  # fmt: skip


def source_of(text: str) -> Source:
    """A path on this machine, or a hub id with its revision."""
    if Path(text).expanduser().exists() or not HUB_ID.fullmatch(text):
        return Source("local", str(Path(text).expanduser()))
    repository, _, revision = text.partition("@")
    return Source("hub", repository, revision)


def example_of(text: str) -> dict[str, str]:
    """A request from what the user wrote: a file's path, JSON, or a text."""
    path = Path(text).expanduser()
    if len(text) < 1000 and path.is_file():
        content_type = TYPES.get(path.suffix.lower(), "application/octet-stream")
        return {"content_type": content_type, "file": str(path.resolve())}
    as_json = text.lstrip().startswith("{")
    return {"content_type": "application/json" if as_json else "text/plain", "text": text}


def wanted_row(environment: Mapping[str, str]) -> tuple[str, dict[str, Any]] | None:
    """(name, row) of the model that MODEL= names, or None without it. The row's task may still be missing.

    Raises CatalogError for a name or a value that cannot be used.
    """
    given = {key: environment[variable] for key, variable in VARIABLES.items() if environment.get(variable)}
    source, name = environment.get("MODEL", ""), environment.get("NAME", "")
    if not source:
        if given or name:
            variable = VARIABLES[next(iter(given))] if given else "NAME"
            raise CatalogError(f"{variable}= says something of a model and there is no MODEL=; add MODEL=/path.")
        return None
    name = name or _name_of(source)
    if not NAME.fullmatch(name):
        raise CatalogError(f"NAME is {name!r}; expected letters, digits, '.', '_' and '-', a letter or digit first.")
    if any(name == model.name for model in MODELS):
        raise CatalogError(f"{name} is the name of a built-in model; choose another with NAME=.")
    row: dict[str, Any] = {"source": _absolute(source), **given}
    if "max_length" in row:
        row["max_length"] = _number(row["max_length"])
    for key in ("labels", "example"):
        if key in row:
            row[key] = _absolute(row[key]) if key == "labels" or Path(row[key]).expanduser().is_file() else row[key]
    return name, row


def _absolute(text: str) -> str:
    path = Path(text).expanduser()
    return str(path.resolve()) if path.exists() or text.startswith((".", "/", "~")) else text


def _name_of(source: str) -> str:
    """A folder's or a file's own name, or a hub id's last part."""
    path = Path(source).expanduser()
    last = path.resolve().name if path.exists() else source.partition("@")[0].rstrip("/").rpartition("/")[2]
    stem = Path(last).stem if path.is_file() else last
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.")


def _number(text: str) -> int:
    if not text.isdigit():
        raise CatalogError(f"MAX_LENGTH is {text!r}; expected a whole number of tokens.")
    return int(text)


def adopt(environment: Mapping[str, str]) -> tuple[Model, dict[str, Any]] | None:
    """The model that MODEL= names and its row, with what its checkpoint says filled in; None without MODEL=.

    Nothing is written. Raises CatalogError or CheckpointError.
    """
    wanted = wanted_row(environment)
    if wanted is None:
        return None
    name, row = wanted
    existing = {model.name: model for model in own_models()}
    if name in existing and existing[name].source != source_of(row["source"]):
        known = existing[name].source.name
        raise CatalogError(f"{name} is {known} in {models_file()}; choose another name with NAME=.")
    row = _inspected(row)
    return model_of_row(name, row), row


def _inspected(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its task, and a hub id with the commit that was read."""
    from export.checkpoints import inspect

    source, task = inspect(source_of(row["source"]), row)
    return {**row, "source": source.name + (f"@{source.revision}" if source.revision else ""), "task": task}


def record(name: str, row: Mapping[str, Any], path: Path | None = None) -> None:
    """Writes the row into models.toml, beside what stands there; comments and the tables of other models stay."""
    import tomlkit

    path = path or models_file()
    document = tomlkit.parse(path.read_text(encoding="utf-8")) if path.exists() else tomlkit.document()
    if name not in document:
        document[name] = tomlkit.table()
    table = document[name]
    for key in ("source", *VARIABLES):
        if key in row:
            table[key] = row[key]
        elif key in table:
            del table[key]
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    partial.write_text(tomlkit.dumps(document), encoding="utf-8")
    partial.replace(path)


