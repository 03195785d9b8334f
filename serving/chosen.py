"""The variants that models.toml chooses for a model, by hand or by ``make choose``, and the archives of a store that
this leaves.

Knows the keys ``variant`` and ``[<model>.chosen]``. The catalog defines the variants; this module only checks that the
store holds the chosen ones. docs/models-toml.md is the page for users.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving.choice import names
from serving.errors import ServingError
from serving.identity import Identity
from serving.machine import kind
from serving.model_settings import CHOICE, read_tables
from serving.models_file import models_file

KEYS = ("by", "date", "machine", "reason")  # the keys of [<model>.chosen]


@dataclass(frozen=True)
class Choice:
    """One model's variants. Where make choose wrote them, also its command, the day, the kind of machine and the
    reason."""

    variants: tuple[str, ...]
    by: str = ""
    date: str = ""
    machine: str = ""
    reason: str = ""

    def __str__(self) -> str:
        return ", ".join(self.variants)


@dataclass(frozen=True)
class Choices:
    """The choices of a models.toml, by model; a model without the key ``variant`` has none."""

    path: Path
    models: dict[str, Choice] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path | None = None) -> Choices:
        """Reads ``path``, else what ``models_file`` names. Raises ServingError for a mistake in it."""
        path = path or models_file()
        found = {}
        for model, table in read_tables(path).items():
            _refuse_misspelt(path, model, table)
            said = _said(path, model, table.get("chosen", {}))
            if "variant" in table:
                found[model] = Choice(_variants(path, model, table["variant"]), **said)
        return cls(path, found)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Choices:
        """The choices that apply: those of models.toml, or none where VARIANTS is given. Raises ServingError as
        ``load`` does."""
        found = cls.load()
        return cls(found.path) if names(environment, "VARIANTS") else found

    def variants(self, model: str) -> tuple[str, ...]:
        """The model's chosen variants; none where it has no choice."""
        return self.models[model].variants if model in self.models else ()

    def served(self, store: Path, held: Sequence[Identity]) -> list[Identity]:
        """The archives of ``held`` without those that a choice leaves out. Raises ServingError where a chosen one is
        absent."""
        for model in {each.model for each in held} & set(self.models):
            self._require(store, model, [each for each in held if each.model == model])
        return [each for each in held if each.model not in self.models or each.variant in self.variants(each.model)]

    def _require(self, store: Path, model: str, held: list[Identity]) -> None:
        where = f"{self.path}: [{model}] variant is {self.models[model]}"
        if held[0].variant == "":
            raise ServingError(f"{where}, and {held[0].name}.mar has no variants; remove the key.")
        have = [each.variant for each in held]
        if absent := [name for name in self.variants(model) if name not in have]:
            lacking = "" if len(self.variants(model)) == 1 else f" without {absent[0]}"
            raise ServingError(
                f"{where}, and {store} holds {model} as {', '.join(have)}{lacking}; "
                f"run: make archive MODELS={model}, or correct the key."
            )

    def unused(self, models: set[str]) -> list[str]:
        """The models with a choice that are not among ``models``, those that the store holds."""
        return sorted(set(self.models) - models)

    def notices(self, served: Sequence[Identity], held: Sequence[Identity]) -> list[str]:
        """Notices for a start: the models that are served in chosen variants only, and choices made on another kind of
        machine."""
        chosen = list(dict.fromkeys(each.model for each in served if each.variant in self.variants(each.model)))
        out = {each.model for each in held if each.variant not in self.variants(each.model)}
        alone = [
            f"{model}: only {self.models[model]} is served ({self.path.name}); VARIANTS= serves others"
            for model in chosen
            if model in out
        ]
        return [*alone, *self.made_elsewhere(chosen)]

    def made_elsewhere(self, models: Iterable[str]) -> list[str]:
        """A line for each of ``models`` whose choice make choose made on another kind of machine than this one."""
        made = {model: self.models[model].machine for model in models if model in self.models}
        here = kind() if any(made.values()) else ""
        return [
            f"{model} was chosen on another kind of machine ({machine}; this is {here}): make choose MODEL={model} "
            "chooses again"
            for model, machine in made.items()
            if machine and machine != here
        ]


def _refuse_misspelt(path: Path, model: str, table: Mapping[str, Any]) -> None:
    """Raises ServingError for a misspelt key of CHOICE."""
    for key, value in table.items():
        known = key in CHOICE or (key == "variants" and isinstance(value, Mapping))
        if not known and (meant := difflib.get_close_matches(key.lower(), CHOICE, n=1, cutoff=0.8)):
            raise ServingError(f"{path}: [{model}] {key}: there is no such key; did you mean {meant[0]}?")


def _variants(path: Path, model: str, value: Any) -> tuple[str, ...]:
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list) or not given or not all(isinstance(name, str) and name for name in given):
        raise ServingError(
            f"{path}: [{model}] variant = {value!r}: a variant's name or a list of names is expected; correct it, or "
            "remove the key."
        )
    return tuple(dict.fromkeys(given))


def _said(path: Path, model: str, table: Any) -> dict[str, str]:
    """The values of [<model>.chosen], checked."""
    if not isinstance(table, Mapping):
        raise ServingError(f"{path}: [{model}] chosen = {table!r}: a table is expected; remove the key.")
    for key, value in table.items():
        if key not in KEYS:
            raise ServingError(
                f"{path}: [{model}.chosen] has the key {key!r}, which nothing reads; known keys: {', '.join(KEYS)}."
            )
        if not isinstance(value, str):
            raise ServingError(f"{path}: [{model}.chosen] {key} = {value}: a text in quotes is expected; correct it.")
    return dict(table)
