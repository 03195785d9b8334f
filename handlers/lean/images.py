"""The image operations other than convolutions, as Triton kernels. operators.py says what each computes."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from handlers.lean.launch import launch, wait_for_previous_kernel


@triton.jit
def _max_pool(x, out, total, height, width, channels, block: tl.constexpr, pdl: tl.constexpr):
    at = tl.program_id(0) * block + tl.arange(0, block)
    high, wide = (height + 1) // 2, (width + 1) // 2
    channel, pixel = at % channels, at // channels
    column, row, image = pixel % wide * 2 - 1, pixel // wide % high * 2 - 1, pixel // wide // high
    best = tl.full((block,), -float("inf"), x.dtype.element_ty)
    wait_for_previous_kernel(pdl)
    for down in tl.static_range(3):
        for across in tl.static_range(3):
            y, z = row + down, column + across
            inside = (at < total) & (y >= 0) & (y < height) & (z >= 0) & (z < width)
            value = tl.load(x + ((image * height + y) * width + z) * channels + channel, inside, -float("inf"))
            best = tl.maximum(best, value)
    tl.store(out + at, best, at < total)


def max_pool(x: Tensor) -> Tensor:
    """See operators.max_pool; ``x`` and the result are channels-last."""
    batch, channels, height, width = x.shape
    shape = (batch, channels, (height + 1) // 2, (width + 1) // 2)
    out = torch.empty(shape, device=x.device, dtype=x.dtype, memory_format=torch.channels_last)
    grid = (triton.cdiv(out.numel(), 1024),)
    launch(_max_pool, grid, x.device, x, out, out.numel(), height, width, channels, 1024, num_warps=4)
    return out


@triton.jit
def _mean(x, out, pixels, channels, rows: tl.constexpr, block: tl.constexpr, pdl: tl.constexpr):
    channel = tl.program_id(1) * block + tl.arange(0, block)
    sums = tl.zeros((block,), tl.float32)
    wait_for_previous_kernel(pdl)
    for first in range(0, pixels, rows):
        row = first + tl.arange(0, rows)
        at = x + (tl.program_id(0) * pixels + row[:, None]) * channels + channel[None, :]
        sums += tl.sum(tl.load(at, (row[:, None] < pixels) & (channel[None, :] < channels), 0.0).to(tl.float32), 0)
    tl.store(out + tl.program_id(0) * channels + channel, (sums / pixels).to(out.dtype.element_ty), channel < channels)


def mean(x: Tensor, out: Tensor | None = None) -> Tensor:
    """See operators.mean; ``x`` is channels-last."""
    batch, channels, height, width = x.shape
    if out is None:
        out = torch.empty(batch, channels, device=x.device, dtype=x.dtype)
    grid = (batch, triton.cdiv(channels, 64))
    launch(_mean, grid, x.device, x, out, height * width, channels, 64, 64, num_warps=4)
    return out


@triton.jit
def _normalise(pixels, scale, shift, out, count, channels: tl.constexpr, block: tl.constexpr,
               pdl: tl.constexpr):  # fmt: skip
    at = tl.program_id(0) * block + tl.arange(0, block)
    pixel, channel = at // channels, at % channels
    inside = (pixel < count) & (channel < 3)
    wait_for_previous_kernel(pdl)
    value = tl.load(pixels + pixel * 3 + channel, inside, 0).to(tl.float32)
    gain, offset = tl.load(scale + channel, inside, 0.0).to(tl.float32), tl.load(shift + channel, inside, 0.0)
    tl.store(out + at, (value * gain + offset.to(tl.float32)).to(out.dtype.element_ty), pixel < count)


def normalise(pixels: Tensor, scale: Tensor, shift: Tensor, channels: int, dtype: torch.dtype) -> Tensor:
    """See operators.normalise; the result is channels-last."""
    pixels = pixels.to(scale.device, non_blocking=True)  # the kernel reads single bytes, which is slow across the bus
    batch, height, width, _ = pixels.shape
    out = torch.empty(batch, height, width, channels, device=scale.device, dtype=dtype)
    count = batch * height * width
    grid = (triton.cdiv(count * channels, 1024),)
    launch(_normalise, grid, scale.device, pixels, scale, shift, out, count, channels, 1024, num_warps=4)
    return out.permute(0, 3, 1, 2)
