"""Convolutions as matrix products that include bias, shortcut and ReLU, and the choice between them and cuDNN.

The faster of the two depends on the shape and the GPU, so each shape is measured once, before graphs are captured. The
result is kept for other processes (handlers/lean/choices.py).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor, nn
from triton.testing import do_bench_cudagraph

from handlers.lean import operators
from handlers.lean.choices import Choice, remembered
from handlers.lean.launch import launch, lines, prefetch, wait_for_previous_kernel

# (rows, columns, step, warps, stages, parts) of a tile, for 1x1 and 3x3: those that were fastest for some shape on an
# H100
TILES = {
    1: ((64, 32, 64, 4, 4, 1), (64, 32, 64, 4, 4, 4), (64, 64, 64, 4, 4, 1), (128, 64, 64, 8, 3, 1),
        (128, 128, 64, 8, 3, 1)),
    3: ((64, 64, 64, 4, 4, 9), (64, 64, 64, 4, 4, 12), (32, 64, 64, 4, 4, 9), (32, 64, 64, 4, 4, 18)),
}  # fmt: skip
# Up to this number of multiply-adds, tiles of a 3x3 are measured: those of two images in ResNet-50. For eight images,
# cuDNN took half as long.
FEW = 1 << 28
MEASURE_MS = 2

FUSED, SEPARATE = "fused", "separate"  # cuDNN, with ReLU and shortcut in its epilogue or after it
Way = Choice  # one of these two, or a tile of ``product``

chosen: dict[Any, Way] = {}  # by device and shape: the fastest way, once it was measured


@triton.jit
def _convolve(x, weight, bias, add, out, count, classes, channels, height, width, depth, span, size: tl.constexpr,
              stride: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr, step: tl.constexpr, parts: tl.constexpr,
              relu: tl.constexpr, extent: tl.constexpr, pdl: tl.constexpr):  # fmt: skip
    """A matrix product: rows are output pixels, columns are output channels. The depth has the ``size`` x ``size`` taps
    one after the other, each with the input's channels. With ``parts`` > 1 the depth is split, and ``out`` gets the
    sum of each part, without bias, shortcut and ReLU."""
    across = tl.cdiv(classes, columns)
    row = tl.program_id(0) // across * rows + tl.arange(0, rows)
    column = tl.program_id(0) % across * columns + tl.arange(0, columns)
    first = tl.program_id(1) * span
    item = tl.arange(0, step)
    wide, high = (width + stride - 1) // stride, (height + stride - 1) // stride
    image, pixel = row // (wide * high), row % (wide * high)
    top, left = pixel // wide * stride, pixel % wide * stride
    sums = tl.zeros((rows, columns), tl.float32)
    if parts == 1:
        sums += tl.load(bias + column)[None, :].to(tl.float32)
    if pdl:
        prefetch(weight + column * depth + first, span, extent)
    wait_for_previous_kernel(pdl)
    for at in range(first, first + span, step):
        inside, source, channel = row < count, (image * height + top) * width + left, at
        if size > 1:
            tap, channel = at // channels, at % channels
            y, z = top + tap // size - size // 2, left + tap % size - size // 2
            inside = inside & (y >= 0) & (y < height) & (z >= 0) & (z < width)
            source = (image * height + y) * width + z
        pixels = tl.load(x + source[:, None] * channels + (channel + item)[None, :], inside[:, None], 0.0)
        sums = tl.dot(pixels, tl.load(weight + column[None, :] * depth + (at + item)[:, None]), sums)
    target = row[:, None] * classes + column[None, :]
    if add is not None:
        sums += tl.load(add + target, row[:, None] < count, 0.0).to(tl.float32)
    if relu:
        sums = tl.maximum(sums, 0.0)
    target += tl.program_id(1) * count * classes
    tl.store(out + target, sums.to(out.dtype.element_ty), row[:, None] < count)


@triton.jit
def _sum(parts, bias, add, out, total, classes, count: tl.constexpr, relu: tl.constexpr, block: tl.constexpr,
         pdl: tl.constexpr):  # fmt: skip
    at = tl.program_id(0) * block + tl.arange(0, block)
    inside = at < total
    sums = tl.load(bias + at % classes, inside, 0.0).to(tl.float32)
    wait_for_previous_kernel(pdl)
    for part in tl.static_range(count):
        sums += tl.load(parts + part * total + at, inside, 0.0).to(tl.float32)
    if add is not None:
        sums += tl.load(add + at, inside, 0.0).to(tl.float32)
    if relu:
        sums = tl.maximum(sums, 0.0)
    tl.store(out + at, sums.to(out.dtype.element_ty), inside)


def product(x: Tensor, c: nn.Conv2d, add: Tensor | None, relu: bool, tile: tuple[int, ...]) -> Tensor:
    """See operators.convolve. ``x`` is channels-last, the padding is half the kernel size, and ``tile`` is one of
    TILES."""
    rows, columns, step, warps, stages, parts = tile
    batch, channels, height, width = x.shape
    size, stride, classes = c.kernel_size[0], c.stride[0], c.out_channels
    shape = (batch, classes, -(-height // stride), -(-width // stride))
    out = torch.empty(shape, device=x.device, dtype=x.dtype, memory_format=torch.channels_last)
    count, depth, total = out.numel() // classes, size * size * channels, out.numel()
    y = out if parts == 1 else torch.empty(parts, total, device=x.device, dtype=x.dtype)
    launch(
        _convolve, (triton.cdiv(count, rows) * (classes // columns), parts), x.device, x, c.weight, c.bias,
        add if parts == 1 else None, y, count, classes, channels, height, width, depth, depth // parts, size, stride,
        rows, columns, step, parts, relu and parts == 1, lines(depth // parts), num_warps=warps, num_stages=stages,
    )  # fmt: skip
    if parts > 1:
        grid = (triton.cdiv(total, 512),)
        launch(_sum, grid, x.device, y, c.bias, add, out, total, classes, parts, relu, 512, num_warps=4)
    return out


def fused(x: Tensor, c: nn.Conv2d, add: Tensor | None, relu: bool) -> Tensor:
    """See operators.convolve; by cuDNN, which includes ReLU and shortcut in the convolution's epilogue."""
    if not relu:
        return operators.convolve(x, c, add, relu)
    padding = operators.padding_of(c)
    if add is None:
        return torch.cudnn_convolution_relu(x, c.weight, c.bias, c.stride, padding, c.dilation, c.groups)
    return torch.cudnn_convolution_add_relu(x, c.weight, add, 1.0, c.bias, c.stride, padding, c.dilation, c.groups)


def convolve(x: Tensor, c: nn.Conv2d, add: Tensor | None = None, relu: bool = True) -> Tensor:
    """See operators.convolve. The first call with a shape measures the ways to compute it; all calls take the
    fastest."""
    shape = x.device, *_shape(x, c, add, relu)
    if shape not in chosen:
        chosen[shape] = _fastest(x, c, add, relu)
    return _run(chosen[shape], x, c, add, relu)


def _run(way: Way, x: Tensor, c: nn.Conv2d, add: Tensor | None, relu: bool) -> Tensor:
    if way == FUSED:
        return fused(x, c, add, relu)
    return operators.convolve(x, c, add, relu) if isinstance(way, str) else product(x, c, add, relu, way)


def tiles(x: Tensor, c: nn.Conv2d) -> list[tuple[int, ...]]:
    """The tiles that ``c`` divides into and that are worth measuring. None for groups or dilation, which ``product``
    does not support."""
    if c.groups > 1 or c.dilation != (1, 1):
        return []
    size, pixels = c.kernel_size[0], x.numel() // x.size(1) // c.stride[0] ** 2
    depth = size * size * c.in_channels
    if c.padding != (size // 2, size // 2) or (size > 1 and pixels * c.out_channels * depth > FEW):
        return []
    return [
        (rows, columns, step, *rest, parts)
        for rows, columns, step, *rest, parts in TILES.get(size, ())
        if c.out_channels % columns == 0 and c.in_channels % step == 0 and depth % (step * parts) == 0
    ]


def _fastest(x: Tensor, c: nn.Conv2d, add: Tensor | None, relu: bool) -> Way:
    """The tile of ``product`` that takes least time, or FUSED or SEPARATE where cuDNN takes less."""
    ways: list[Way] = [FUSED, *tiles(x, c)]
    if c.groups > 1:  # cuDNN may have no fused engine for groups, or a slow one
        ways = [SEPARATE, *([FUSED] if _has_engine(x, c, add, relu) else [])]
    if len(ways) == 1:
        return ways[0]

    def measure() -> Way:
        with torch.cuda.stream(torch.cuda.Stream(x.device)):
            return min(ways, key=lambda way: _milliseconds(functools.partial(_run, way, x, c, add, relu)))

    return remembered(_hardware(x.device), str(_shape(x, c, add, relu)), ways, measure)


def _shape(x: Tensor, c: nn.Conv2d, add: Tensor | None, relu: bool) -> tuple[Any, ...]:
    return (tuple(x.shape), c.out_channels, c.kernel_size, c.stride, c.padding, c.dilation, c.groups, add is not None,
            relu)  # fmt: skip


@functools.cache
def _hardware(device: torch.device) -> str:
    """What choices depend on, as a file's name."""
    parts = torch.cuda.get_device_name(device), torch.__version__, triton.__version__, torch.backends.cudnn.version()
    return re.sub(r"[^\w.+-]+", "-", "-".join(map(str, parts)))


def _milliseconds(call: Callable[[], Tensor]) -> float:
    found: float = do_bench_cudagraph(call, rep=MEASURE_MS, return_mode="median")
    return found


def _has_engine(x: Tensor, c: nn.Conv2d, add: Tensor | None, relu: bool) -> bool:
    try:
        fused(x, c, add, relu)
    except RuntimeError:
        return False
    return True
