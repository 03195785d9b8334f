"""``make models``: lists all models that can be built, with task, architecture, weights and fitting variants."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from export.catalog import VARIANTS, CatalogError, Model, models
from export.checkpoints import config_of
from export.device import DeviceError, resolve_device
from export.errors import CheckpointError
from export.fits import reason_against
from export.options import chosen_rows
from export.own_handler import digest
from export.progress import table
from serving.chosen import Choices
from serving.errors import ServingError
from serving.store import STORE
from serving.versions import FOLDER, held


def main() -> int:
    """Prints the table and the reasons; returns the exit status."""
    try:
        device = resolve_device(os.environ.get("DEVICE") or "auto")
        found, choices = models(), Choices.load()
    except (CatalogError, DeviceError, ServingError) as error:
        print(error, file=sys.stderr)
        return 1
    lines, reasons, handlers = [], [], []
    elsewhere = list(dict.fromkeys(row.name for row in VARIANTS if row.device not in ("any", device)))
    for model in found:
        fitting, against = variants_of(model, device)
        lines.append((model.name, model.task, architecture_of(model), str(model.source), " ".join(fitting)))
        reasons += [f"{model.name}: {reason}" for reason in against]
        handlers += [handler_line(model)] if model.handler else []
    print(table(("name", "task", "architecture", "weights", f"variants that fit ({device})"), lines))
    if elsewhere:
        print(f"\nOn a {'cpu' if device == 'gpu' else 'gpu'} only: {', '.join(elsewhere)}")
    if reasons:
        print("\n" + "\n".join(reasons))
    if handlers:
        print("\n" + "\n".join(handlers))
    if choices.models:
        print("\n" + "\n".join(chosen_lines(choices, device)))
    if versions := version_lines():
        print("\n" + "\n".join(versions))
    print("\nTo add your own model: make archive MODEL=/path/to/checkpoint (docs/your-model.md)")
    return 0


def version_lines() -> list[str]:
    """A line for each archive of the store with versions other than the served one, or the reason why they cannot be
    read."""
    lines = []
    for name in sorted({path.stem for path in STORE.glob(f"{FOLDER}/*/*.mar")}):
        try:
            versions = held(STORE, name)
        except ServingError as error:
            lines.append(str(error))
            continue
        served = [version for version, path in versions.items() if path.parent == STORE]
        others = ", ".join(version for version in versions if version not in served)
        lines.append(f"{name}: version {served[0] if served else 'none'} is served; make rollout serves {others}")
    return lines


def handler_line(model: Model) -> str:
    """A line with the path of the model's own handler, or the reason why it cannot be read."""
    try:
        return f"{model.name}: answers through {model.handler} (sha256 {digest(model)[:12]})"
    except CheckpointError as error:
        return f"{model.name}: {str(error).splitlines()[0]}"


def chosen_lines(choices: Choices, device: str) -> list[str]:
    """Lines on the choices of models.toml: for each model its choice, or the reason why it cannot be built here; then
    the choices made on other machines."""
    lines = []
    for model, choice in choices.models.items():
        try:
            chosen_rows(model, choices, device)
        except CatalogError as error:
            lines.append(str(error))
            continue
        by = f", by {choice.by} ({choice.date})" if choice.by else ""
        reason = f": {choice.reason}" if choice.reason else ""
        lines.append(f"{model}: built and served as {choice} ({choices.path.name}{by}){reason}")
    return [*lines, *choices.made_elsewhere(choices.models)]


def variants_of(model: Model, device: str) -> tuple[list[str], list[str]]:
    """(the variants that fit the model on ``device``, the reasons why the others do not)."""
    fitting: list[str] = []
    against: list[str] = []
    for variant in VARIANTS:
        if model.kind not in variant.kinds or variant.device not in ("any", device):
            continue
        try:
            reason = reason_against(model, variant)
        except CheckpointError as error:
            reason = str(error)
        (against if reason else fitting).append(reason or variant.name)
    return fitting, against


def architecture_of(model: Model) -> str:
    """A short description of the network: the family and its size, or the architecture's name."""
    if named := model.options.get("architecture"):
        return str(named)
    if model.source.kind == "local" and not Path(model.source.name).exists():
        return "missing"
    config = config_of(model)
    if config.get("architecture"):
        return str(config["architecture"])
    if not config:
        return "bert" if model.kind == "text" else "-"
    layers, width = (config.get(old) or config.get(new) for old, new in
                     (("num_hidden_layers", "n_layers"), ("hidden_size", "dim")))  # fmt: skip
    return f"{config.get('model_type', '-')} {layers} x {width}" if layers and width else str(config.get("model_type"))


if __name__ == "__main__":
    sys.exit(main())
