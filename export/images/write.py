"""Writes an image checkpoint as the folder that handlers/networks.py loads, and tests the network with a forward
pass."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from torch import nn

from export.errors import CheckpointError
from export.images.read import folder_config, layout, weights_file
from export.images.record import ImageModel
from export.images.state import check_fit, read_state
from handlers.errors import ArchiveError
from handlers.networks import CONFIG, WEIGHTS, build_network, empty_network


def write_checkpoint(model: ImageModel, source: Path, directory: Path) -> None:
    """Writes model.safetensors in fp32, and config.json if the library needs it, into ``directory``.

    ``model`` is the record that ``read_image_model`` returned for ``source``. Raises CheckpointError if weights are
    missing, or if the network does not take images of the model's size or does not return its classes.
    """
    if model.library == "transformers":
        network = _transformers(model, source)
        own: Any = network.network
        own.save_pretrained(directory)
    else:
        network = _by_name(model, source, directory)
    _try(network, model, source)


def _transformers(model: ImageModel, source: Path) -> nn.Module:
    try:
        return build_network("transformers", model.architecture, model.classes, source).float()
    except (OSError, ValueError, RuntimeError, ArchiveError) as error:
        detail = str(error).strip().partition("\n")[0]
        raise CheckpointError(
            f"{model.architecture} could not be loaded from {source} ({detail}); save it whole with "
            "model.save_pretrained(folder)."
        ) from None


def _by_name(model: ImageModel, source: Path, directory: Path) -> nn.Module:
    from safetensors.torch import save_file

    weights = source
    if source.is_dir():
        assert layout(folder_config(source), source) == "timm"
        weights = weights_file(source)
        shutil.copyfile(source / CONFIG, directory / CONFIG)
    network = empty_network(model.library, model.architecture, model.classes, directory)
    state = read_state(weights)
    check_fit(state, network, weights, model.architecture)
    network.load_state_dict(state)
    # Cloned, since safetensors does not write tensors that share memory.
    save_file({name: value.clone().contiguous() for name, value in network.state_dict().items()}, directory / WEIGHTS)
    return network.eval()


def _try(network: nn.Module, model: ImageModel, source: Path) -> None:
    import torch

    size = f"{model.height}x{model.width}"
    try:
        with torch.inference_mode():
            outputs = network(torch.zeros(1, 3, model.height, model.width))
    except (RuntimeError, ValueError, AssertionError) as error:
        detail = str(error).strip().partition("\n")[0]
        raise CheckpointError(f"{model.architecture} of {source} takes no images of {size}: {detail}") from None
    if tuple(outputs.shape) != (1, model.classes):
        raise CheckpointError(
            f"{model.architecture} of {source} answers with {list(outputs.shape)} to one image of {size}; expected a "
            f"number for each of {model.classes} classes."
        )
