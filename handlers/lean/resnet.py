"""ResNet with batch norms folded into the convolutions (Jacob et al., 2018, section 3.2), and pixels padded to the 8
channels that tensor cores want."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from handlers.lean import operators

STEM_CHANNELS = 8


class LeanResNet(nn.Module):
    """forward(pixels), uint8 [N, H, W, 3], returns logits, as ImageClassifier does.

    Pixels may lie in pinned host memory. ``out``, float32 [N, ``outputs``] and pinned, takes the logits.
    """

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__()
        self.outputs = spec["classes"]
        self.stem = _convolution(spec["stem"])
        self.blocks = nn.ModuleList(LeanBlock(block) for block in spec["blocks"])
        self.classifier = nn.Linear(spec["features"], spec["classes"])
        self.register_buffer("scale", torch.zeros(3))
        self.register_buffer("shift", torch.zeros(3))

    def forward(self, pixels: Tensor, out: Tensor | None = None) -> Tensor:
        ops = self._operators()
        images = ops.normalise(pixels, self.scale, self.shift, STEM_CHANNELS, self.stem.weight.dtype)
        x = ops.max_pool(ops.convolve(images, self.stem))
        for block in self.blocks:
            x = block(x, ops)
        return ops.scores(ops.mean(x), self.classifier, out)

    def _operators(self) -> ModuleType:
        if self.stem.weight.is_cuda and self.stem.weight.dtype == torch.float16:
            from handlers.lean import kernels

            return kernels
        return operators


class LeanBlock(nn.Module):
    """A basic or bottleneck block: convolutions with ReLU, the last one adding the shortcut first."""

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(_convolution(each) for each in spec["convolutions"])
        self.shortcut = _convolution(spec["shortcut"]) if spec["shortcut"] else None

    def forward(self, x: Tensor, ops: ModuleType) -> Tensor:
        kept = x if self.shortcut is None else ops.convolve(x, self.shortcut, relu=False)
        *first, last = self.convolutions
        for each in first:
            x = ops.convolve(x, each)
        return ops.convolve(x, last, kept)


def _convolution(spec: list[int]) -> nn.Conv2d:
    inputs, outputs, kernel, stride, padding = spec
    return nn.Conv2d(inputs, outputs, kernel, stride, padding)


def lean_resnet(wrapper: nn.Module) -> tuple[LeanResNet, dict[str, Any]]:
    """A LeanResNet with the weights of an ImageClassifier around a torchvision ResNet, and its spec."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    network = wrapper.network
    stem = fuse_conv_bn_eval(network.conv1, network.bn1)
    padded = nn.Conv2d(STEM_CHANNELS, stem.out_channels, stem.kernel_size, stem.stride, stem.padding)
    padded.weight = nn.Parameter(F.pad(stem.weight, (0, 0, 0, 0, 0, STEM_CHANNELS - 3)))
    padded.bias = stem.bias
    blocks = []
    for block in (each for stage in (network.layer1, network.layer2, network.layer3, network.layer4) for each in stage):
        pairs = [
            (getattr(block, f"conv{i}"), getattr(block, f"bn{i}")) for i in (1, 2, 3) if hasattr(block, f"conv{i}")
        ]
        shortcut = fuse_conv_bn_eval(*block.downsample) if block.downsample is not None else None
        blocks.append(([fuse_conv_bn_eval(*pair) for pair in pairs], shortcut))
    spec = {
        "stem": _spec(padded),
        "blocks": [{"convolutions": [_spec(c) for c in convolutions], "shortcut": _spec(s) if s is not None else None}
                   for convolutions, s in blocks],
        "features": network.fc.in_features, "classes": network.fc.out_features,
    }  # fmt: skip
    lean = LeanResNet(spec)
    lean.stem, lean.classifier = padded, network.fc
    lean.scale, lean.shift = wrapper.scale.flatten(), wrapper.shift.flatten()
    for target, (convolutions, shortcut) in zip(lean.blocks, blocks, strict=True):
        target.convolutions = nn.ModuleList(convolutions)
        target.shortcut = shortcut
    return lean.eval(), spec


def _spec(c: nn.Conv2d) -> list[int]:
    return [c.in_channels, c.out_channels, c.kernel_size[0], c.stride[0], c.padding[0]]
