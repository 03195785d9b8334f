"""Triton kernels for what PyTorch has no single kernel for. GPU only; imported by handlers.lean where a GPU is."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _add_layer_norm(x, residual, weight, bias, out, width: tl.constexpr, block: tl.constexpr, epsilon: tl.constexpr):
    row = tl.program_id(0)
    columns = tl.arange(0, block)
    inside = columns < width
    at = row * width + columns
    value = tl.load(x + at, inside, 0.0).to(tl.float32) + tl.load(residual + at, inside, 0.0).to(tl.float32)
    centred = tl.where(inside, value - tl.sum(value, 0) / width, 0.0)
    scale = tl.rsqrt(tl.sum(centred * centred, 0) / width + epsilon)
    gain, offset = tl.load(weight + columns, inside, 0.0).to(tl.float32), tl.load(bias + columns, inside, 0.0)
    tl.store(out + at, (centred * scale * gain + offset.to(tl.float32)).to(out.dtype.element_ty), inside)


def add_layer_norm(x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    """layer_norm(x + residual) over the last dimension, computed in fp32; contiguous tensors of one shape."""
    out, width = torch.empty_like(x), x.shape[-1]
    rows = x.numel() // width
    _add_layer_norm[(rows,)](x, residual, weight, bias, out, width, triton.next_power_of_2(width), epsilon, num_warps=4)
    return out


@triton.jit
def _normalise(pixels, scale, shift, out, count, channels: tl.constexpr, block: tl.constexpr):
    at = tl.program_id(0) * block + tl.arange(0, block)
    pixel, channel = at // channels, at % channels
    inside = (pixel < count) & (channel < 3)
    value = tl.load(pixels + pixel * 3 + channel, inside, 0).to(tl.float32)
    gain, offset = tl.load(scale + channel, inside, 0.0).to(tl.float32), tl.load(shift + channel, inside, 0.0)
    tl.store(out + at, (value * gain + offset.to(tl.float32)).to(out.dtype.element_ty), pixel < count)


def normalise(pixels: Tensor, scale: Tensor, shift: Tensor, channels: int, dtype: torch.dtype) -> Tensor:
    """uint8 [N, H, W, 3] to ``pixels * scale + shift`` as channels-last [N, channels, H, W], zeros beyond the third."""
    batch, height, width, _ = pixels.shape
    out = torch.empty(batch, height, width, channels, device=pixels.device, dtype=dtype)
    count = batch * height * width
    grid = (triton.cdiv(count * channels, 1024),)
    _normalise[grid](pixels, scale, shift, out, count, channels, 1024, num_warps=4)
    return out.permute(0, 3, 1, 2)
