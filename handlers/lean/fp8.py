"""Encoder layers whose matrix products run in 8-bit floats (e4m3: 4 bits of exponent, 3 of mantissa).

A product's weights and its input are divided by a scale each, a plain number, and rounded to e4m3. The scales of the
inputs come from calibration (export/steps/fp8_calibration.py). A product without a scale stays in the weights' own
type. Everything else, the norms, the softmax, GELU and the residual connections, is computed as without fp8.

The functions here run on any device, with numbers rounded to e4m3 and multiplied in the weights' type;
``fp8_kernels`` computes the same on a GPU with such tensor cores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from handlers.lean import operators

if TYPE_CHECKING:  # it imports this module
    from handlers.lean.encoder import LeanLayer

Scales = Mapping[str, float | None]  # by product; None: not in fp8
PRODUCTS = ("qkv", "out", "up", "down")  # of a layer
E4M3 = torch.float8_e4m3fn
LARGEST = 448.0  # of e4m3's numbers
MANY_ROWS = 512  # tokens of a batch from which fp8 is used: on an H200, BERT-base was faster with 384, slower with 256
CAPABILITY = (8, 9)  # the least compute capability with fp8 tensor cores: Ada; Hopper has 9.0


def without_fp8(capability: tuple[int, int]) -> str:
    """The sentence for a GPU of too small a compute capability."""
    least, found = (".".join(map(str, each)) for each in (CAPABILITY, capability))
    return f"fp8 needs a GPU of compute capability {least} or more (Ada, Hopper), and this one has {found}; use graph."


def encode(x: Tensor, mask: Tensor | None, layers: Sequence[Any] | nn.ModuleList, scales: Sequence[Scales]) -> Tensor:
    """``x`` [N, L, W] through the ``layers``, LeanLayers, whose products are scaled by ``scales``, one per layer."""
    ops = _operators(x)
    narrow = ops.quantise(x, scales[0]["qkv"])
    for layer, own, later in zip(layers, scales, [*(each["qkv"] for each in scales[1:]), None], strict=True):
        mixed = ops.attention(ops.linear(narrow, layer.qkv, own["qkv"]), mask, layer.heads, own["out"])
        x, narrow = ops.linear_add_norm(mixed, layer.out, own["out"], x, layer.attention_norm, own["up"])
        inner = ops.linear_gelu(narrow, layer, own["up"], own["down"])
        x, narrow = ops.linear_add_norm(inner, layer.down, own["down"], x, layer.norm, later)
    return x


def _operators(x: Tensor) -> ModuleType:
    """``fp8_kernels`` for fp16 on a GPU, else this module."""
    if x.is_cuda and x.dtype == torch.float16:
        from handlers.lean import fp8_kernels

        return fp8_kernels
    from handlers.lean import fp8

    return fp8


def scale_of(largest: float) -> float:
    """The scale at which numbers of magnitude ``largest`` are e4m3's largest."""
    return max(largest, 1e-6) / LARGEST


def quantise(x: Tensor, scale: float | None) -> Tensor:
    """``x`` / ``scale`` in e4m3; what is beyond its range becomes its largest number. ``x`` without a scale."""
    return x if scale is None else (x / scale).clamp(-LARGEST, LARGEST).to(E4M3)


_narrowed: WeakKeyDictionary[nn.Linear, tuple[int, Tensor, float]] = WeakKeyDictionary()


def narrowed(layer: nn.Linear) -> tuple[Tensor, float]:
    """The layer's weight in e4m3, [outputs, inputs], and its scale. Computed once for a weight, until it is moved."""
    place = layer.weight.data_ptr()
    if layer not in _narrowed or _narrowed[layer][0] != place:
        weight = layer.weight.detach().float()
        scale = scale_of(float(weight.abs().max()))
        _narrowed[layer] = place, quantise(weight, scale), scale
    return _narrowed[layer][1:]


def linear(x: Tensor, layer: nn.Linear, scale: float | None) -> Tensor:
    """layer(x), of the result of ``quantise``."""
    if scale is None:
        return operators.linear(x, layer)
    weight, weight_scale = narrowed(layer)
    dtype = layer.weight.dtype
    return nn.functional.linear(x.to(dtype), weight.to(dtype)) * (scale * weight_scale) + layer.bias


def attention(qkv: Tensor, mask: Tensor | None, heads: int, scale: float | None) -> Tensor:
    """operators.attention, quantised."""
    return quantise(operators.attention(qkv, mask, heads), scale)


def linear_gelu(x: Tensor, layer: LeanLayer, scale: float | None, later: float | None) -> Tensor:
    """The up-projection of ``x`` and its activation, quantised by ``later``."""
    return quantise(operators.activate(linear(x, layer.up, scale), layer.activation), later)


def linear_add_norm(
    x: Tensor, layer: nn.Linear, scale: float | None, residual: Tensor, norm: nn.LayerNorm, later: float | None
) -> tuple[Tensor, Tensor]:
    """norm(layer(x) + residual), and the same quantised by ``later``."""
    found = norm(linear(x, layer, scale) + residual)
    return found, quantise(found, later)
