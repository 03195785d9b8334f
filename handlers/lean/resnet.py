"""ResNet, ResNeXt and Wide ResNet, with batch norms folded into the convolutions (Jacob et al., 2018, section 3.2).
Pixels are padded to 8 channels, which tensor cores need.

Knows no library's checkpoint: image_families.py converts the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from handlers.lean import operators

STEM_CHANNELS = 8
MULTIPLE = 16  # For the classifier's kernel, the number of features has to be a multiple of it.


class LeanResNet(nn.Module):
    """Stem, blocks and a classifier, described by a ``spec`` of plain values. Without ``classes`` it returns the mean
    features.

    ``plain_reason`` is as in LeanEncoder. It does not concern convolutions: each of them uses the faster of the kernels
    and cuDNN.
    """

    def __init__(self, spec: Mapping[str, Any]) -> None:
        super().__init__()
        features, classes = spec["features"], spec["classes"]
        self.plain_reason = f"{features} features are no multiple of {MULTIPLE}" if features % MULTIPLE else None
        self.stem = build_convolution(spec["stem"])
        self.blocks = nn.ModuleList(LeanBlock(block) for block in spec["blocks"])
        self.classifier = nn.Linear(features, classes) if classes else None
        self.register_buffer("scale", torch.zeros(3))
        self.register_buffer("shift", torch.zeros(3))

    def forward(
        self, pixels: Tensor, out: tuple[Tensor, ...] | None = None, best: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, ...]:
        """Logits [N, classes] or features [N, features] of uint8 ``pixels`` [N, H, W, 3].

        Pixels may lie in pinned host memory, and so may ``out``, one float32 tensor that the result is written to.
        ``best``, for logits only, is filled as operators.scores says.
        """
        ops, result = self._operators(), None if out is None else out[0]
        images = ops.normalise(pixels, self.scale, self.shift, STEM_CHANNELS, self.stem.weight.dtype)
        x = ops.max_pool(ops.convolve(images, self.stem))
        for block in self.blocks:
            x = block(x, ops)
        if self.classifier is None:
            return (ops.mean(x, result),)
        return (ops.scores(ops.mean(x), self.classifier, result, best),)

    def _operators(self) -> ModuleType:
        weight = self.stem.weight
        if weight.is_cuda and weight.dtype == torch.float16 and self.plain_reason is None:
            from handlers.lean import kernels

            return kernels
        return operators


class LeanBlock(nn.Module):
    """A basic or bottleneck block: convolutions with ReLU; the last one adds the shortcut before its ReLU."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(build_convolution(each) for each in spec["convolutions"])
        self.shortcut = build_convolution(spec["shortcut"]) if spec["shortcut"] else None

    def forward(self, x: Tensor, ops: ModuleType) -> Tensor:
        kept = x if self.shortcut is None else ops.convolve(x, self.shortcut, relu=False)
        *first, last = self.convolutions
        for each in first:
            x = ops.convolve(x, each)
        found: Tensor = ops.convolve(x, last, kept)
        return found


def build_convolution(spec: Sequence[int]) -> nn.Conv2d:
    """A convolution without its weights, from the numbers of ``describe_convolution``."""
    inputs, outputs, size, stride, padding, dilation, groups = spec
    return nn.Conv2d(inputs, outputs, size, stride, padding, dilation, groups)


def describe_convolution(c: nn.Conv2d) -> list[int]:
    """Channels in and out, kernel size, stride, padding, dilation and groups."""
    padding = operators.padding_of(c)[0]
    return [c.in_channels, c.out_channels, c.kernel_size[0], c.stride[0], padding, c.dilation[0], c.groups]
