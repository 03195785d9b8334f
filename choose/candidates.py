"""Builds the archives of a model in choose's own store, and decides which of them may win, with a reason for the
others.

Knows how archives are built, and reads their records. Copies archives that are up to date in the user's store. Adds
nothing to the user's store.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from choose.errors import ChooseError
from choose.request import Request
from choose.space import Candidate, Space, axes, default, memory_mib, mib
from export import archive as archives
from export import catalog
from export.catalog import Model, Row
from export.device import resolve_device
from export.fits import reason_against
from export.list_models import variants_of
from export.options import Options, read_options
from export.own_models import adopt
from export.own_store import STORES, bring_up_to_date
from serving.config import Config
from serving.identity import read_config
from serving.store import intact_digest

STORE = Path(os.environ.get("CHOOSE_STORE") or STORES / "choose").resolve()
DEFAULT = "torchscript"  # the variant that make archive serve serves by default


def find(request: Request, name: str, environment: Mapping[str, str], cores: int) -> Space:
    """The space of the model ``name`` for ``cores`` cores of the server, its archives built.

    Raises ChooseError, CatalogError, DeviceError, CheckpointError, ServingError or NotBuiltError.
    """
    model = _model(request, name, environment)
    require_held_out(request, model)
    options = _options(request, model, environment)
    print(announced(model, options), file=sys.stderr, flush=True)
    refused = {name: why for name, why in bring_up_to_date(STORE, options).items() if why}
    found = {row.variant.name: _candidate(row, request) for row in options.rows if row.name not in refused}
    first = found.get(DEFAULT) or (next(iter(found.values())) if model.kind == "none" and found else None)
    if first is None:
        raise ChooseError(f"{name}-{DEFAULT}, the default to compare with, was not built; see the message above.")
    searched = tuple(each for each in found if not found[each].reason and each in (request.variants or found))
    if not searched:
        bounded = request.min_accuracy is not None or request.min_cosine is not None
        cure = "lower the bound" if bounded else "name others in VARIANTS, or none"
        raise ChooseError(f"No variant of {name} may win: {'; '.join(_reasons(found, refused))}; {cure}.")
    queue = int(Config.load().properties["job_queue_size"])
    return Space(
        name, model.task, options.device, cores, found, searched,
        axes(cores, queue, request.workers, request.threads, request.batches),
        default(first.row, read_config(STORE / f"{first.row.name}.mar")[1], cores, queue),
        tuple(_left_out(model, options.device, found, searched, refused)), memory_mib(),
    )  # fmt: skip


def require_held_out(request: Request, model: Model) -> None:
    """Raises ChooseError for MIN_ACCURACY of a model without a held-out set."""
    if request.min_accuracy is not None and model.source.kind != "trained":
        raise ChooseError(
            f"MIN_ACCURACY needs a held-out set, and {model.name} has none; bound its answers' cosine to eager fp32 "
            "instead: MIN_COSINE=0.999"
        )


def _model(request: Request, name: str, environment: Mapping[str, str]) -> Model:
    """The model of that name, or the one that the checkpoint of MODEL= becomes when it is built."""
    adopted = adopt(environment) if request.checkpoint else None
    return adopted[0] if adopted else catalog.model(name)


def announced(model: Model, options: Options) -> str:
    """One line: the variants to build, and those that do not fit the model."""
    built = [row.variant.name for row in options.rows]
    against = {row.name: reason_against(model, row) for row in catalog.VARIANTS
               if row.device in ("any", options.device) and model.kind in row.kinds}  # fmt: skip
    refused = [f"{name} ({why})" for name, why in against.items() if why and name not in built]
    line = f"{model.name} ({model.task}): builds what is missing of {', '.join(built)}"
    return "; ".join([line, *([f"does not fit: {', '.join(refused)}"] if refused else [])])


def _options(request: Request, model: Model, environment: Mapping[str, str]) -> Options:
    device = resolve_device(environment.get("DEVICE") or "auto")
    fast = {row.name for row in catalog.VARIANTS if row.fast}
    wanted = list(request.variants) or [name for name in variants_of(model, device)[0] if name in fast]
    if model.kind != "none" and DEFAULT not in wanted:  # the default is always measured
        wanted.append(DEFAULT)
    which = {"MODELS": ""} if request.checkpoint else {"MODEL": "", "MODELS": model.name}
    chosen = {**which, "VARIANTS": " ".join(wanted)}
    return read_options({**environment, **chosen}, adopting=request.checkpoint)


def _candidate(row: Row, request: Request) -> Candidate:
    path = STORE / f"{row.name}.mar"
    record = archives.read_record(path) or {}
    parity, handler = record.get("parity") or {}, (record.get("handler") or {}).get("file", "")
    described = read_config(path)[1]["archive"]
    return Candidate(row, intact_digest(path) or "", parity, bool(described.get("random_weights")), mib(path),
                     _reason(parity, request), handler)  # fmt: skip


def _reason(parity: Mapping[str, Any], request: Request) -> str:
    """Why an archive of this parity may not win; "" where it may."""
    for name, least, figure in (("accuracy", request.min_accuracy, "{:.2%}"), ("cosine", request.min_cosine, "{:.6f}")):
        value = parity.get(name)
        if least is not None and (value is None or value < least):
            stated = f"its {name} is {figure.format(value)}" if value is not None else f"it states no {name}"
            return f"{stated}; MIN_{name.upper()} asks for {figure.format(least)}"
    return ""


def _reasons(found: Mapping[str, Candidate], refused: Mapping[str, str]) -> list[str]:
    """Why each archive may not win: "onnx: its cosine is 0.99; ...", "short-int8: 92% of nearest neighbours agree"."""
    built = [f"{name}: {each.reason or 'not among VARIANTS'}" for name, each in found.items()]
    return [*built, *(f"{name}: {' '.join(why.split()).rstrip('.')}" for name, why in refused.items())]


def _left_out(
    model: Model, device: str, found: Mapping[str, Candidate], searched: tuple[str, ...], refused: Mapping[str, str]
) -> list[dict[str, str]]:
    """Each variant of the catalog that is not searched, with the reason."""
    reasons: dict[str, str] = {}
    for row in catalog.VARIANTS:
        if row.name in searched or (row.kinds == ("none",)) != (model.kind == "none"):
            continue
        built = found.get(row.name)
        reasons[row.name] = (
            reasons.get(row.name)
            or (built.reason if built else "")
            or refused.get(f"{model.name}-{row.name}", "")
            or (f"runs on a {row.device.upper()}" if row.device not in ("any", device) else reason_against(model, row))
            or ("not among VARIANTS" if row.fast else "is built for another purpose than speed")
        )
    return [{"variant": name, "reason": " ".join(why.split())} for name, why in reasons.items()]
