"""Where torchvision, timm and transformers keep a ResNet's weights, and which variants of ResNet have a lean form.

Supported are ResNet, ResNeXt and Wide ResNet with the plain stem (one convolution, one max pooling), batch norms and
ReLU. Everything else is a LeanError that names what is not supported.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from handlers.lean.errors import LeanError, refusal
from handlers.lean.resnet import STEM_CHANNELS, LeanResNet, build_convolution, describe_convolution

Pair = tuple[nn.Module, nn.Module]  # a convolution and its norm
Block = tuple[list[Pair], Pair | None]  # the convolutions of a block, and that of its shortcut

PLAIN = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x8d",
         "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2")  # fmt: skip
ARCHITECTURES = {
    "torchvision": PLAIN,
    "timm": (*PLAIN, "resnet26", "resnext101_32x4d", "resnext101_32x16d", "resnext101_32x32d"),
}
TIMM_ARGUMENTS = {"num_classes", "global_pool"}  # keys of config.json's model_args that leave the network as it is


def unsupported_image(config: Mapping[str, Any], head: Mapping[str, Any]) -> str | None:
    """See handlers.lean.unsupported."""
    library, architecture = head["library"], head["architecture"]
    if library == "transformers":
        what = _unsupported_config(config)
    elif architecture.split(".")[0] not in ARCHITECTURES.get(library, ()):  # without timm's tag, as in ".a1_in1k"
        what = f"{architecture!r} of {library} is none of the plain ResNets that it knows"
    else:
        what = _unsupported_arguments(config) if library == "timm" else None
    return refusal(what) if what else None


def _unsupported_config(config: Mapping[str, Any]) -> str | None:
    name = config.get("model_type")
    if name != "resnet":
        return f"{name!r} is no image family that it knows (resnet)"
    for setting, expected in {"hidden_act": "relu", "num_channels": 3}.items():
        if (value := config.get(setting, expected)) != expected:
            return f"resnet with {setting} {value!r} instead of {expected!r}"
    return None


def _unsupported_arguments(config: Mapping[str, Any]) -> str | None:
    arguments = config.get("model_args") or {}
    if others := sorted(set(arguments) - TIMM_ARGUMENTS):
        return f"resnet of timm with model_args {', '.join(others)}"
    pool = arguments.get("global_pool") or config.get("global_pool") or "avg"
    return f"resnet of timm with global_pool {pool!r} instead of 'avg'" if pool != "avg" else None


def convert_image(
    network: Any, scaling: tuple[Tensor, Tensor], head: Mapping[str, Any]
) -> tuple[LeanResNet, dict[str, Any]]:
    """A LeanResNet with the weights of ``network``, and its spec, from which handlers.lean.build makes one without
    weights.

    ``network``, in evaluation mode, takes float images; ``scaling`` are scale and shift, three numbers each; the
    network's input is ``pixels * scale + shift``. Raises LeanError.
    """
    config = network.config.to_dict() if head["library"] == "transformers" else {}
    if reason := unsupported_image(config, head):
        raise LeanError(reason)
    stem_pair, read, classifier = READERS[head["library"]](network)
    classifier = None if head["features"] else copy.deepcopy(classifier)  # the caller's network does not change
    stem = _pad_inputs(_fold(stem_pair))
    blocks = [([_fold(each) for each in pairs], None if kept is None else _fold(kept)) for pairs, kept in read]
    spec = {
        "network": "resnet",
        "stem": describe_convolution(stem),
        "blocks": [
            {
                "convolutions": [describe_convolution(each) for each in convolutions],
                "shortcut": None if shortcut is None else describe_convolution(shortcut),
            }
            for convolutions, shortcut in blocks
        ],
        "features": blocks[-1][0][-1].out_channels,
        "classes": 0 if classifier is None else classifier.out_features,
    }
    lean = LeanResNet(spec)
    lean.stem, lean.classifier = stem, classifier
    lean.scale, lean.shift = (each.detach().flatten().clone() for each in scaling)
    target: Any
    for target, (convolutions, shortcut) in zip(lean.blocks, blocks, strict=True):
        target.convolutions, target.shortcut = nn.ModuleList(convolutions), shortcut
    return lean.eval(), spec


def _fold(pair: Pair) -> nn.Conv2d:
    convolution, norm = pair
    if type(convolution) is not nn.Conv2d or convolution.padding_mode != "zeros":
        raise LeanError(refusal(f"a ResNet with the convolution {convolution}"))
    if not isinstance(norm, nn.BatchNorm2d):
        raise LeanError(refusal(f"a ResNet with {type(norm).__name__} instead of BatchNorm2d"))
    sizes = convolution.kernel_size, convolution.stride, convolution.padding, convolution.dilation
    if isinstance(convolution.padding, str) or any(len(set(each)) > 1 for each in sizes):
        raise LeanError(refusal(f"a ResNet with the convolution {convolution}, which is not square"))
    return fuse_conv_bn_eval(convolution, norm)


def _pad_inputs(stem: nn.Conv2d) -> nn.Conv2d:
    """``stem`` with STEM_CHANNELS input channels; the added ones have zero weights."""
    padded = build_convolution([STEM_CHANNELS, *describe_convolution(stem)[1:]])
    padded.weight = nn.Parameter(F.pad(stem.weight.detach(), (0, 0, 0, 0, 0, STEM_CHANNELS - stem.in_channels)))
    padded.bias = stem.bias
    return padded


def _read_torchvision(network: Any) -> tuple[Pair, list[Block], nn.Linear | None]:
    """Stem, blocks and classifier of torchvision's ResNet, and of timm's where the names are the same."""
    stages = (network.layer1, network.layer2, network.layer3, network.layer4)
    blocks = [_block(block) for stage in stages for block in stage]
    classifier = network.fc if isinstance(network.fc, nn.Linear) else None
    return (network.conv1, network.bn1), blocks, classifier


def _block(block: Any) -> Block:
    numbers = [number for number in (1, 2, 3) if hasattr(block, f"conv{number}")]
    pairs = [(getattr(block, f"conv{number}"), getattr(block, f"bn{number}")) for number in numbers]
    shortcut = None if block.downsample is None else tuple(block.downsample)
    if shortcut is not None and len(shortcut) != 2:
        raise LeanError(refusal("a ResNet whose shortcut is more than a convolution and a norm"))
    return pairs, shortcut


def _read_timm(network: Any) -> tuple[Pair, list[Block], nn.Linear | None]:
    """Stem, blocks and classifier of timm's ResNet. Its options may add parts to a block or remove some, under
    unchanged names, so the parts are checked."""
    pool = network.maxpool
    if not isinstance(pool, nn.MaxPool2d) or (pool.kernel_size, pool.stride, pool.padding) != (3, 2, 1):
        raise LeanError(refusal(f"a ResNet of timm with the stem's pooling {pool}"))
    for name, module in network.named_modules():
        part = name.rsplit(".", 1)[-1]
        if part.startswith("act") and not isinstance(module, nn.ReLU):
            raise LeanError(refusal(f"a ResNet of timm with the activation {type(module).__name__}"))
        if part in ("se", "aa", "drop_block") and not isinstance(module, nn.Identity):
            raise LeanError(refusal(f"a ResNet of timm with {part} ({type(module).__name__})"))
    return _read_torchvision(network)


def _read_transformers(network: Any) -> tuple[Pair, list[Block], nn.Linear | None]:
    """Stem, blocks and classifier of ResNetForImageClassification, or of ResNetModel, which has no classifier."""
    base = getattr(network, "resnet", network)

    def pair(module: Any) -> Pair:
        return module.convolution, module.normalization

    blocks: list[Block] = []
    for block in (each for stage in base.encoder.stages for each in stage.layers):
        shortcut = None if isinstance(block.shortcut, nn.Identity) else pair(block.shortcut)
        blocks.append(([pair(each) for each in block.layer], shortcut))
    classifier = network.classifier[-1] if hasattr(network, "classifier") else None
    return pair(base.embedder.embedder), blocks, classifier if isinstance(classifier, nn.Linear) else None


READERS: dict[str, Callable[[Any], tuple[Pair, list[Block], nn.Linear | None]]] = {
    "torchvision": _read_torchvision,
    "timm": _read_timm,
    "transformers": _read_transformers,
}
