"""The linear layer in int8, and its calibration. A module of its own, since it imports torch: make archive loads the
steps in its own process too, which does without.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

OUTLIERS = 8  # fp32 input channels per linear layer; without them, the embeddings' cosine falls from 0.997 to 0.963
# AVX2 adds two products of 8-bit numbers in 16 bits: 2 x 255 x 63 fits, 2 x 255 x 127 would saturate.
WEIGHT_MAXIMUM = 63


class Int8Linear(nn.Module):
    """``linear`` in int8, except the input channels with outliers, which stay fp32. ``largest``, float [inputs], has
    the largest magnitude of each input channel in calibration."""

    def __init__(self, linear: nn.Linear, largest: Tensor) -> None:
        super().__init__()
        self.outliers: Tensor
        self.outlier_weight: Tensor
        self.kept: Tensor
        weight = linear.weight.detach().clone()
        outliers = largest.argsort(descending=True)[:OUTLIERS].sort().values
        self.register_buffer("outliers", outliers)
        self.register_buffer("outlier_weight", weight[:, outliers].t().contiguous())
        weight[:, outliers] = 0
        self.register_buffer("kept", torch.ones(weight.size(1)).index_fill(0, outliers, 0.0))
        self.packed = torch.ops.quantized.linear_prepack(_quantized(weight), linear.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output, float [..., outputs], of float [..., inputs]."""
        product: Tensor = torch.ops.quantized.linear_dynamic(x * self.kept, self.packed, False)
        return product + x.index_select(-1, self.outliers) @ self.outlier_weight


def _quantized(weight: Tensor) -> Tensor:
    # torch has deprecated its quantized tensors. The supported releases still have them.
    warnings.filterwarnings("ignore", message=".*quantized tensor creation functions.*")
    scales = (weight.abs().amax(1) / WEIGHT_MAXIMUM).clamp(min=1e-8).double()
    return torch.quantize_per_channel(weight, scales, torch.zeros(len(scales), dtype=torch.long), 0, torch.qint8)


def largest_inputs(module: Any, encoder: nn.Module, names: list[str], batches: list[Any]) -> dict[str, Tensor]:
    """The largest magnitude of each input channel of each layer over ``batches``."""
    largest: dict[str, Tensor] = {}

    def watch(name: str) -> Any:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen = inputs[0].abs().flatten(0, -2).amax(0)
            largest[name] = torch.maximum(largest.get(name, seen), seen)

        return hook

    handles = [encoder.get_submodule(name).register_forward_pre_hook(watch(name)) for name in names]
    with torch.inference_mode():
        for batch in batches:
            module(*batch)
    for handle in handles:
        handle.remove()
    return {name: seen.clone() for name, seen in largest.items()}
