"""The same networks with fewer and larger kernels, for GPUs where a small batch is bound by launches, not by work.

Each family of models has a conversion: text_families.py and image_families.py say where a library keeps the weights and
which settings are supported. encoder.py and resnet.py are the networks that the weights are put into. ``operators`` has
each operation in plain PyTorch, for any device; ``kernels`` has the same operation in Triton and cuDNN. A network
chooses between the two by the device and type of its weights. So the result of the kernels can be compared with that of
plain PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from handlers.lean.encoder import LeanEncoder
from handlers.lean.errors import LeanError
from handlers.lean.image_families import convert_image, unsupported_image
from handlers.lean.resnet import LeanResNet
from handlers.lean.text_families import convert_text, unsupported_text

__all__ = ["LeanEncoder", "LeanError", "LeanResNet", "build", "convert_image", "convert_text", "unsupported"]

NETWORKS = {"encoder": LeanEncoder, "resnet": LeanResNet}


def build(spec: Mapping[str, Any]) -> nn.Module:
    """The network that ``convert_text`` or ``convert_image`` described by ``spec``, without its weights."""
    return NETWORKS[spec["network"]](spec).eval()


def unsupported(config: Mapping[str, Any], head: Mapping[str, Any]) -> str | None:
    """The reason why a checkpoint has no lean form, as the sentence of a LeanError. None where it has one. Needs no
    weights.

    ``config`` is the parsed config.json of the checkpoint; for an image model of torchvision, which has none, it is
    empty. ``head`` is Settings.head.
    """
    return (unsupported_image if head["kind"] == "image" else unsupported_text)(config, head)
