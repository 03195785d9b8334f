"""What make passes to a build, read and checked: MODELS, VARIANTS, DEVICE, WEIGHTS and <MODEL>_WEIGHTS.

Weights that no archive of the build would use are refused. Other projects have such variables too (YOLO_WEIGHTS): one
that names no model here is refused when it stands on make's command line, and a shell's own is only noted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from export.catalog import DEFAULT_MODELS, DEFAULT_VARIANTS, MODELS, Model, Row, rows, variant_names
from export.device import resolve_device
from export.weights import Choice, WeightsError
from serving.choice import names

SUFFIX = "_WEIGHTS"
ON_COMMAND_LINE = "WEIGHTS_GIVEN"  # the Makefile writes it: names of such variables on its command line


@dataclass(frozen=True)
class Options:
    """The archives to build, the device they are for, and the weights of each model by its name."""

    rows: list[Row]
    device: str
    choices: dict[str, Choice]
    notes: list[str]  # sentences for the user; nothing is wrong

    def choice(self, row: Row) -> Choice:
        """The weights that the user chose for the row's model."""
        return self.choices[row.model.name]


def read_options(
    environment: Mapping[str, str],
    models: Sequence[str] = DEFAULT_MODELS,
    variants: Sequence[str] | None = DEFAULT_VARIANTS,
) -> Options:
    """The options in ``environment``; ``models`` and ``variants`` where it names none, None being all that fit the
    device. Raises CatalogError, DeviceError or WeightsError."""
    device = resolve_device(environment.get("DEVICE") or "auto")
    wanted = names(environment, "VARIANTS") or list(variant_names(device) if variants is None else variants)
    chosen = rows(names(environment, "MODELS") or models, wanted, device)
    built = list({row.model.name: row.model for row in chosen}.values())
    notes = [*_check_random(built, environment), *_check_paths(built, environment)]
    return Options(chosen, device, {model.name: Choice.of(model, environment) for model in built}, notes)


def variable(model: Model) -> str:
    """The variable that names a local copy of the model's weights."""
    return model.name.upper().replace("-", "_") + SUFFIX


def _check_random(built: list[Model], environment: Mapping[str, str]) -> list[str]:
    """Raises WeightsError when WEIGHTS is no choice, or concerns none of the models that are built."""
    wanted = environment.get("WEIGHTS", "")
    takers = [model for model in MODELS if Choice.of(model, {"WEIGHTS": wanted}).random]  # raises for a wrong value
    if not wanted:
        return []
    using = [model for model in built if model in takers]
    if not using:
        raise WeightsError(
            f"WEIGHTS={wanted} would not be used: it concerns {_list(takers)}, and what is being built is "
            f"{_list(built)}; leave it out, or name one of them in MODELS."
        )
    others = [model for model in built if model not in takers and model.source.kind != "none"]
    return [f"WEIGHTS={wanted} concerns {_list(using)}; the weights of {_list(others)} stay real."] if others else []


def _check_paths(built: list[Model], environment: Mapping[str, str]) -> list[str]:
    """Raises WeightsError for a <MODEL>_WEIGHTS that would not be used."""
    given, known = names(environment, ON_COMMAND_LINE), {variable(model): model for model in MODELS}
    notes = []
    for name, value in environment.items():
        if not value or not name.upper().endswith(SUFFIX):
            continue
        if model := known.get(name.upper()):
            _check_path(name, model, built, environment)
        elif name in given:
            takers = [variable(model) for model in MODELS if _takes_path(model)]
            raise WeightsError(f"{name} names no model whose weights can be given; there are: {', '.join(takers)}.")
        else:
            notes.append(f"{name} is set in the environment and names no model here: it is not used.")
    return notes


def _check_path(name: str, model: Model, built: list[Model], environment: Mapping[str, str]) -> None:
    if name != variable(model):
        raise WeightsError(f"{name} is not read; write {variable(model)}.")
    if not _takes_path(model):
        raise WeightsError(f"{name} would not be used: {model.name}'s weights are always {model.source}; unset it.")
    if model not in built:
        raise WeightsError(
            f"{name} would not be used: what is being built is {_list(built)}; add {model.name} to MODELS, or unset it."
        )
    if environment.get("WEIGHTS"):
        raise WeightsError(
            f"{name} and WEIGHTS={environment['WEIGHTS']} both say what {model.name}'s weights are; leave one out."
        )
    if not Path(environment[name]).expanduser().exists():
        raise WeightsError(f"There are no weights at {environment[name]}, which {name} names; give a path that exists.")


def _takes_path(model: Model) -> bool:
    return Choice.of(model, {variable(model): "/"}).path is not None


def _list(models: Iterable[Model]) -> str:
    return ", ".join(model.name for model in models)
