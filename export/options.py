"""Reads and checks the variables that make passes to a build: MODELS, VARIANTS, DEVICE, WEIGHTS, <MODEL>_WEIGHTS and
VERSION.

Weights that no archive of the build would use are an error. A variable such as YOLO_WEIGHTS, which names no model of
this project, is an error on make's command line. In the shell's environment it may belong to another project, so it
only gives a notice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export import catalog
from export.catalog import DEFAULT_MODELS, DEFAULT_VARIANTS, CatalogError, Model, Row, rows, variant_names
from export.device import resolve_device
from export.errors import CheckpointError
from export.own_models import adopt
from export.weights import Choice, variable
from serving.choice import names
from serving.chosen import Choices
from serving.models_file import models_file
from serving.versions import checked_version

SUFFIX = "_WEIGHTS"
ON_COMMAND_LINE = "WEIGHTS_GIVEN"  # the Makefile sets it to the names of such variables on its command line


@dataclass(frozen=True)
class Options:
    """The archives to build, their device, and the weights of each model by its name."""

    rows: list[Row]
    device: str
    choices: dict[str, Choice]
    notes: list[str]  # notices for the user, not errors
    adopted: tuple[str, dict[str, Any]] | None = None  # name and row of the model that MODEL= names
    version: str = ""  # VERSION; "" without it

    def choice(self, row: Row) -> Choice:
        """The weights that the user chose for the row's model."""
        return self.choices[row.model.name]


def read_options(
    environment: Mapping[str, str],
    models: Sequence[str] = DEFAULT_MODELS,
    variants: Sequence[str] | None = DEFAULT_VARIANTS,
    adopting: bool = False,
    choices: Choices | None = None,
) -> Options:
    """The options in ``environment``. ``models`` and ``variants`` are the defaults; None means all variants that fit
    the device. ``adopting``: MODEL= may name a new model. ``choices``: the choices of models.toml replace ``variants``,
    and if no models are named, the models with a choice are built as well.

    Raises CatalogError, DeviceError, CheckpointError or ServingError.
    """
    if environment.get("MODEL") and not adopting:
        raise CatalogError("MODEL= is for make archive, which records the model; then name it with MODELS=.")
    device = resolve_device(environment.get("DEVICE") or "auto")
    named = names(environment, "VARIANTS")
    wanted = named or list(variant_names(device) if variants is None else variants)
    choices = choices or Choices(models_file())
    own = adopt(environment)
    if own and environment.get("MODELS"):
        raise CatalogError("MODEL= names a new model and MODELS= models that are known; leave one of them out.")
    asked = [own[0]] if own else names(environment, "MODELS") or list(dict.fromkeys([*models, *choices.models]))
    chosen = _rows(asked, wanted, device, choices, by_default=variants is None and not named)
    built = list({row.model.name: row.model for row in chosen}.values())
    notes = [*_check_random(built, environment), *_check_paths(built, environment)]
    notes += choices.made_elsewhere(model.name for model in built)
    weights = {model.name: Choice.of(model, environment) for model in built}
    version = checked_version(given) if (given := environment.get("VERSION", "")) else ""
    return Options(chosen, device, weights, notes, (own[0].name, own[1]) if own else None, version)


def _rows(
    models: Sequence[str | Model], variants: Sequence[str], device: str, choices: Choices, by_default: bool
) -> list[Row]:
    """The archives of ``models``, in this order. Each is built in its chosen variants, or in ``variants`` without a
    choice."""
    if not choices.models:
        return rows(models, variants, device, by_default)
    found: list[Row] = []
    for each in models:
        chosen = _name(each) in choices.models
        found += chosen_rows(each, choices, device) if chosen else rows([each], variants, device, by_default)
    return found


def _name(model: str | Model) -> str:
    return model if isinstance(model, str) else model.name


def chosen_rows(model: str | Model, choices: Choices, device: str) -> list[Row]:
    """The archives of one model in the variants that models.toml chooses. Raises CatalogError."""
    name = _name(model)
    where, cure = f"{choices.path}: [{name}] variant", "correct the name of the table"
    try:
        known = catalog.model(model) if isinstance(model, str) else model
        cure = f"correct it, or run: make choose MODEL={name}"
        found = rows([known], choices.variants(name), device)
    except CatalogError as error:
        raise CatalogError(f"{where}: {str(error).rstrip('.')}; {cure}") from None
    if known.kind == "none":
        raise CatalogError(f"{where}: {name} has no variants; remove the key.")
    return found


def _check_random(built: list[Model], environment: Mapping[str, str]) -> list[str]:
    """Raises CheckpointError if WEIGHTS has an unknown value, or applies to none of the models that are built."""
    wanted = environment.get("WEIGHTS", "")
    # Choice.of raises CheckpointError for a wrong value.
    takers = [model for model in _known(built) if Choice.of(model, {"WEIGHTS": wanted}).random]
    if not wanted:
        return []
    using = [model for model in built if model in takers]
    if not using:
        raise CheckpointError(
            f"WEIGHTS={wanted} would not be used: it applies to {_list(takers)}, and this build has "
            f"{_list(built)}; leave it out, or name one of them in MODELS."
        )
    others = [model for model in built if model not in takers and model.source.kind != "none"]
    return [f"WEIGHTS={wanted} applies to {_list(using)}; the weights of {_list(others)} stay real."] if others else []


def _check_paths(built: list[Model], environment: Mapping[str, str]) -> list[str]:
    """Raises CheckpointError for a <MODEL>_WEIGHTS that would not be used."""
    given, known = names(environment, ON_COMMAND_LINE), {variable(model): model for model in _known(built)}
    notes = []
    for name, value in environment.items():
        if not value or not name.upper().endswith(SUFFIX):
            continue
        if model := known.get(name.upper()):
            _check_path(name, model, built, environment)
        elif name in given:
            takers = [variable(model) for model in _known(built) if _takes_path(model)]
            raise CheckpointError(f"{name} names no model whose weights can be given; there are: {', '.join(takers)}.")
        else:
            notes.append(f"{name} is set in the environment and names no model here: it is not used.")
    return notes


def _check_path(name: str, model: Model, built: list[Model], environment: Mapping[str, str]) -> None:
    if name != variable(model):
        raise CheckpointError(f"{name} is not read; write {variable(model)}.")
    if not _takes_path(model):
        raise CheckpointError(f"{name} would not be used: {model.name}'s weights are always {model.source}; unset it.")
    if model not in built:
        raise CheckpointError(
            f"{name} would not be used: this build has {_list(built)}; add {model.name} to MODELS, or unset it."
        )
    if environment.get("WEIGHTS"):
        raise CheckpointError(
            f"{name} and WEIGHTS={environment['WEIGHTS']} both say what {model.name}'s weights are; leave one out."
        )
    if not Path(environment[name]).expanduser().exists():
        given = environment[name]
        raise CheckpointError(f"There are no weights at {given}, which {name} names; give a path that exists.")


def _known(built: list[Model]) -> list[Model]:
    """The models of the catalog and of ``built``, which may have a new model."""
    return list({model.name: model for model in [*catalog.models(), *built]}.values())


def _takes_path(model: Model) -> bool:
    return Choice.of(model, {variable(model): "/"}).path is not None


def _list(models: Iterable[Model]) -> str:
    return ", ".join(model.name for model in models)
