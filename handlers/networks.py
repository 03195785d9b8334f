"""Builds image classifiers of torchvision, timm and transformers by name and loads their weights from safetensors.

Imports only the library that is needed. Knows neither preprocessing nor labels. Downloads nothing and loads no pickle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from handlers.errors import ArchiveError

WEIGHTS, CONFIG = "model.safetensors", "config.json"


class Logits(nn.Module):
    """A transformers image classifier that takes and returns plain tensors.

    forward(images), float [N, 3, H, W] normalised, returns logits [N, classes].
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.network(pixel_values=images).logits
        return found


def build_network(library: str, architecture: str, classes: int, directory: Path) -> nn.Module:
    """The network in evaluation mode, with the weights of ``directory``; forward(images) returns logits [N, classes].

    ``directory`` holds model.safetensors and, for transformers, config.json. For timm config.json is optional; it may
    have arguments of the architecture. Raises ArchiveError if weights are missing or do not fit.
    """
    return _BUILDERS[library](architecture, classes, directory).eval()


def empty_network(library: str, architecture: str, classes: int | None, directory: Path | None = None) -> nn.Module:
    """A torchvision or timm network with random weights. With ``classes`` None, the architecture has its own number.

    ``directory`` is a folder with timm's config.json, or None.
    """
    arguments: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    if library == "torchvision":
        from torchvision.models import get_model

        network: nn.Module = get_model(architecture, weights=None, **arguments)
        return network
    from timm import create_model

    name = f"local-dir:{directory}" if directory and (directory / CONFIG).is_file() else architecture
    return create_model(name, pretrained=False, **arguments)


def _torchvision(architecture: str, classes: int, directory: Path) -> nn.Module:
    return _filled(empty_network("torchvision", architecture, classes), directory)


def _timm(architecture: str, classes: int, directory: Path) -> nn.Module:
    return _filled(empty_network("timm", architecture, classes, directory), directory)


def _filled(network: nn.Module, directory: Path) -> nn.Module:
    from safetensors.torch import load_file

    try:
        network.load_state_dict(load_file(directory / WEIGHTS))
    except RuntimeError as error:
        raise ArchiveError(f"{directory / WEIGHTS} does not fit the network: {error}") from None
    return network


def _transformers(architecture: str, classes: int, directory: Path) -> nn.Module:
    from transformers import AutoModelForImageClassification

    network, report = AutoModelForImageClassification.from_pretrained(
        directory, local_files_only=True, use_safetensors=True, output_loading_info=True
    )
    # transformers gives missing weights random values and raises no error.
    if missing := sorted(report["missing_keys"]):
        raise ArchiveError(f"{directory} lacks weights that {architecture} needs: {', '.join(missing[:3])}.")
    return Logits(network)


_BUILDERS = {"torchvision": _torchvision, "timm": _timm, "transformers": _transformers}


def features(network: nn.Module, library: str) -> nn.Module:
    """``network``, changed to return the input of its classifier: forward(images) returns features [N, D].

    For timm: ``reset_classifier(0)``, which equals ``forward_head(pre_logits=True)``. For torchvision and transformers,
    the last linear layer becomes the identity. Raises ArchiveError if the network does not end with a linear layer.
    """
    if library == "timm":
        of_timm: Any = network
        of_timm.reset_classifier(0)
        return network
    name, _ = last_linear(network)
    parent, _, attribute = name.rpartition(".")
    setattr(network.get_submodule(parent), attribute, nn.Identity())
    return network


def last_linear(network: nn.Module) -> tuple[str, nn.Linear]:
    """The name and the module of the linear layer that ends a network. Raises ArchiveError if it has none."""
    linear = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    last_parameter = [name for name, _ in network.named_parameters()][-1]
    if not linear or last_parameter.rpartition(".")[0] != linear[-1][0]:
        raise ArchiveError(
            f"{type(network).__name__} does not end with a linear layer, so it has no features to return; take an "
            "architecture that does, such as resnet50."
        )
    return linear[-1]
