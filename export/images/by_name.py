"""Classifiers of torchvision and timm by name: the library of a name, and the published weights and preparation."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from export.errors import CheckpointError
from export.images.record import Pixels
from handlers.networks import empty_network

# torchvision's builders set transform_input together with the published weights. A state dict does not say whether it
# was set.
AMBIGUOUS = ("googlenet", "inception_v3")


def library_of(name: str) -> tuple[str, str]:
    """("torchvision" or "timm", architecture) of a name. "timm:resnet18" and "torchvision:resnet18" name the library. A
    plain name is looked up in torchvision, then in timm. Raises CheckpointError for an unknown name."""
    library, colon, plain = name.rpartition(":")
    if colon and library not in _NAMES:
        raise CheckpointError(f"ARCH={name} names the library {library!r}; expected torchvision: or timm:.")
    for each in [library] if colon else _NAMES:
        if _knows(each, plain):
            if (each, plain) in [("torchvision", ambiguous) for ambiguous in AMBIGUOUS]:
                raise CheckpointError(
                    f"torchvision's {plain} is not supported: a state dict does not say whether transform_input was "
                    "set; take another architecture, such as resnet50."
                )
            return each, plain
    close = difflib.get_close_matches(plain, sorted({n for each in _NAMES for n in _NAMES[each]()}), 3)
    hint = f"; did you mean {' or '.join(close)}?" if close else "; see timm.list_models()."
    raise CheckpointError(f"ARCH={name} is no classifier of {library if colon else 'torchvision or timm'}{hint}")


def _torchvision_names() -> list[str]:
    import torchvision.models

    names: list[str] = torchvision.models.list_models(module=torchvision.models)
    return names


def _timm_names() -> list[str]:
    import timm

    return timm.list_models()


_NAMES: dict[str, Callable[[], list[str]]] = {"torchvision": _torchvision_names, "timm": _timm_names}


def _knows(library: str, name: str) -> bool:
    if library == "timm":
        import timm

        return timm.is_model(name)  # with a tag, too: resnet18.a1_in1k
    return name in _torchvision_names()


def shapes(library: str, architecture: str, classes: int | None = None, directory: Path | None = None) -> nn.Module:
    """The network, for its names and shapes. If its builder allows it, the weights have no memory (meta tensors).

    Raises CheckpointError if timm's config.json in ``directory`` does not fit timm.
    """
    import torch

    try:
        with torch.device("meta"):
            return empty_network(library, architecture, classes, directory)
    except Exception:  # some builders compute with values, and meta tensors have no values
        try:
            return empty_network(library, architecture, classes, directory)
        except Exception as error:
            detail = str(error).partition("\n")[0]
            where = f" with the arguments of {directory}/config.json" if directory else ""
            raise CheckpointError(f"{library} cannot build {architecture}{where}: {detail}") from None


def head_of(library: str, network: Any) -> str:
    """The name of the weight whose first dimension is the number of classes."""
    if library == "timm":
        name = network.pretrained_cfg.get("classifier") or "classifier"
        return f"{name if isinstance(name, str) else name[0]}.weight"
    return [str(name) for name, _ in network.named_parameters() if name.endswith(".weight")][-1]


def published(architecture: str, network: nn.Module, file_name: str) -> Any:
    """The published torchvision weights whose preparation is used: those with the file name ``file_name``, else the
    default weights. For a network with a fixed image size, the first weights of that size."""
    from torchvision.models import get_model_weights

    entries = get_model_weights(architecture)
    for entry in entries:
        if Path(entry.url).name == file_name:
            return entry
    size = getattr(network, "image_size", None)
    fitting = [entry for entry in (entries.DEFAULT, *entries) if size in (None, entry.transforms().crop_size[0])]
    return fitting[0] if fitting else entries.DEFAULT


def torchvision_pixels(entry: Any) -> Pixels:
    """The preparation by the transforms of published weights."""
    transforms = entry.transforms()
    (resize,), (crop,) = transforms.resize_size, transforms.crop_size
    preparation = {"kind": "photo", "resize": resize, "crop": crop, "interpolation": transforms.interpolation.value}
    return Pixels(crop, crop, tuple(transforms.mean), tuple(transforms.std), preparation)


def timm_pixels(config: dict[str, Any], architecture: str) -> Pixels:
    """The preparation by timm's ``create_transform`` for a pretrained_cfg. Raises CheckpointError for an unsupported
    setting."""
    from timm.data import resolve_data_config

    data = resolve_data_config(pretrained_cfg=config)
    (channels, height, width), mode = data["input_size"], data["crop_mode"]
    if channels != 3:
        raise CheckpointError(f"{architecture} takes {channels} channels; only networks of 3 channels are supported.")
    if mode not in ("center", "squash") or (mode == "center" and height != width):
        raise CheckpointError(
            f"{architecture} prepares images with crop_mode {mode!r} to {height}x{width}; supported are 'center' to a "
            "square and 'squash'."
        )
    # rounded down, as timm does
    scaled = [math.floor(side / data["crop_pct"]) for side in (height, width)]
    square = mode == "center"
    preparation = {
        "kind": "photo",
        "resize": scaled[0] if square else scaled,
        "crop": height if square else [height, width],
        "interpolation": data["interpolation"],
    }
    return Pixels(height, width, tuple(data["mean"]), tuple(data["std"]), preparation)
