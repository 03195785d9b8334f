"""Reads a model's serving settings from models.toml. They apply without a new build.

Knows the keys below. The other keys of a model's table belong to export and are ignored. docs/models-toml.md is the
page for users.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving.errors import ServingError
from serving.identity import Identity
from serving.models_file import models_file, read

Settings = dict[str, "int | float"]


@dataclass(frozen=True)
class Key:
    """The values of a key: numbers from ``least`` to ``most``, whole unless it is a time in milliseconds."""

    least: int
    most: int
    whole: bool = True

    def problem(self, value: Any) -> str | None:
        """What is wrong with ``value``, or None."""
        kind = int if self.whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kind) or not self.least <= value <= self.most:
            return f"a {'whole ' if self.whole else ''}number from {self.least} to {self.most} is expected"
        return None


KEYS = {
    "workers": Key(1, 256),
    "threads": Key(0, 1024),  # threads of one worker; 0: one for each core that it may run on
    "batch_size": Key(1, 1024),
    "batch_delay_ms": Key(0, 60_000, whole=False),
    "response_timeout_s": Key(1, 86_400),
    "startup_timeout_s": Key(1, 86_400),
    "queue": Key(1, 1_000_000),
}
CHOICE = ("variant", "chosen")  # keys that serving/chosen.py reads
# Likely mistakes: TorchServe's own names, and names without the unit. They are compared without case, "_" and "-".
ALIASES = {
    "minworkers": "workers", "maxworkers": "workers", "batchdelay": "batch_delay_ms", "maxbatchdelay": "batch_delay_ms",
    "delay": "batch_delay_ms", "batchdelayus": "batch_delay_ms", "responsetimeout": "response_timeout_s",
    "timeout": "response_timeout_s", "startuptimeout": "startup_timeout_s", "jobqueuesize": "queue",
    "queuesize": "queue", "defaultworkerspermodel": "workers", "batchsize": "batch_size",
}  # fmt: skip


@dataclass(frozen=True)
class ModelSettings:
    """The settings of a models.toml: ``models`` by model, ``variants`` by model and variant."""

    path: Path
    models: dict[str, Settings] = field(default_factory=dict)
    variants: dict[tuple[str, str], Settings] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path | None = None) -> ModelSettings:
        """Reads ``path``, else $MODELS_FILE, else the checkout's models.toml; without such a file there are none.

        Raises ServingError for a file that is no TOML, a misspelt key or a value out of range.
        """
        path = path or models_file()
        loaded = cls(path)
        for model, table in read_tables(path).items():
            loaded.models[model] = _settings(path, model, table)
            below = table.get("variants")
            for variant, changed in below.items() if isinstance(below, Mapping) else ():
                if not isinstance(changed, Mapping):
                    raise ServingError(
                        f"{path}: [{model}.variants] {variant} = {changed!r}: a table is expected; write "
                        f"[{model}.variants.{variant}] and the settings below it."
                    )
                loaded.variants[model, variant] = _settings(path, f"{model}.variants.{variant}", changed)
        return loaded

    def of(self, archive: Identity) -> Settings:
        """The settings of an archive: those of its model, updated with those of its variant.

        Raises ServingError for ``threads`` of an archive that is not ours: its handler does not read them.
        """
        found = {**self.models.get(archive.model, {}), **self.variants.get((archive.model, archive.variant), {})}
        if "threads" in found and not archive.ours:
            raise ServingError(
                f"{self.path}: [{archive.model}] threads = {found['threads']}: {archive.name}.mar was not built by "
                "this project, and its handler sets its own threads; remove the key."
            )
        return found

    def unused(self, models: set[str]) -> list[str]:
        """The models with serving settings that are not among ``models``, those that the store holds."""
        named = [model for model, settings in self.models.items() if settings] + [model for model, _ in self.variants]
        return sorted(set(named) - models)


def read_tables(path: Path) -> dict[str, Mapping[str, Any]]:
    """The file's tables by model, unchecked; empty if there is no file. Raises ServingError."""
    found = read(path)
    for key, value in found.items():
        if not isinstance(value, Mapping):
            _refuse_outside(path, key)
    return {key: value for key, value in found.items() if isinstance(value, Mapping)}


def _settings(path: Path, table: str, values: Mapping[str, Any]) -> Settings:
    for key, value in values.items():
        if key in KEYS:
            if problem := KEYS[key].problem(value):
                raise ServingError(f"{path}: [{table}] {key} = {value!r}: {problem}; correct it, or remove the key.")
        elif meant := _meant(key):
            raise ServingError(f"{path}: [{table}] {key}: there is no such key; did you mean {meant}?")
    return {key: values[key] for key in KEYS if key in values}


def _meant(key: str) -> str | None:
    """The known key that an unknown one resembles, or None."""
    if known := ALIASES.get(re.sub("[-_]", "", key).lower()):
        return known
    near = difflib.get_close_matches(key.lower(), KEYS, n=1, cutoff=0.8)
    return near[0] if near else None


def _refuse_outside(path: Path, key: str) -> None:
    if meant := key if key in (*KEYS, *CHOICE) else _meant(key):
        raise ServingError(f"{path}: {key} stands outside a model's table; write it below a line such as [minilm]"
                           + (f", as {meant}." if meant != key else "."))  # fmt: skip
