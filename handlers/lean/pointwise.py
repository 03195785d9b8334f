"""1x1 convolutions as matrix products, with bias, shortcut and ReLU inside; and the choice between them and cuDNN.

Which is faster depends on the shape and the GPU, so each shape is measured once, before graphs are captured.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor, nn
from triton.testing import do_bench_cudagraph

from handlers.lean.launch import after_the_kernel_before, launch, lines, prefetch

# (rows, columns, step, warps, stages) of a tile; those that won somewhere on an H100
TILES = ((64, 32, 64, 4, 4), (64, 64, 64, 4, 4), (128, 64, 64, 8, 3), (128, 128, 64, 8, 3))
MEASURE_MS = 2

_chosen: dict[Any, tuple[int, ...] | None] = {}


@triton.jit
def _pointwise(x, weight, bias, add, out, count, classes, depth, height, width, stride: tl.constexpr,
               rows: tl.constexpr, columns: tl.constexpr, step: tl.constexpr, adds: tl.constexpr, relu: tl.constexpr,
               extent: tl.constexpr, pdl: tl.constexpr):  # fmt: skip
    across = tl.cdiv(classes, columns)
    row = tl.program_id(0) // across * rows + tl.arange(0, rows)
    column = tl.program_id(0) % across * columns + tl.arange(0, columns)
    item = tl.arange(0, step)
    source = row
    if stride > 1:  # of an output pixel, the input pixel that it looks at
        wide, high = (width + stride - 1) // stride, (height + stride - 1) // stride
        image, pixel = row // (wide * high), row % (wide * high)
        source = (image * height + pixel // wide * stride) * width + pixel % wide * stride
    sums = tl.zeros((rows, columns), tl.float32) + tl.load(bias + column)[None, :].to(tl.float32)
    if pdl:
        prefetch(weight + column * depth, depth, extent)
    after_the_kernel_before(pdl)
    for _ in range(0, depth, step):
        left = tl.load(x + source[:, None] * depth + item[None, :], row[:, None] < count, 0.0)
        sums = tl.dot(left, tl.load(weight + column[None, :] * depth + item[:, None]), sums)
        item += step
    at = row[:, None] * classes + column[None, :]
    if adds:
        sums += tl.load(add + at, row[:, None] < count, 0.0).to(tl.float32)
    if relu:
        sums = tl.maximum(sums, 0.0)
    tl.store(out + at, sums.to(out.dtype.element_ty), row[:, None] < count)


def pointwise(x: Tensor, c: nn.Conv2d, add: Tensor | None, relu: bool, tile: tuple[int, ...]) -> Tensor:
    """A 1x1 convolution of channels-last ``x``, computed in tiles of that shape. See operators.convolve."""
    rows, columns, step, warps, stages = tile
    batch, depth, height, width = x.shape
    stride, classes = c.stride[0], c.out_channels
    high, wide = -(-height // stride), -(-width // stride)
    out = torch.empty((batch, classes, high, wide), device=x.device, dtype=x.dtype, memory_format=torch.channels_last)
    count = batch * high * wide
    launch(
        _pointwise, (triton.cdiv(count, rows) * (classes // columns),), x.device, x, c.weight, c.bias,
        x if add is None else add, out, count, classes, depth, height, width, stride, rows, columns, step,
        add is not None, relu, lines(depth), num_warps=warps, num_stages=stages,
    )  # fmt: skip
    return out


def cudnn(x: Tensor, c: nn.Conv2d, add: Tensor | None, relu: bool) -> Tensor:
    """Any convolution, with ReLU and shortcut in cuDNN's epilogue. See operators.convolve."""
    if not relu:
        return c(x) if add is None else c(x) + add
    if add is None:
        return torch.cudnn_convolution_relu(x, c.weight, c.bias, c.stride, c.padding, c.dilation, c.groups)
    return torch.cudnn_convolution_add_relu(x, c.weight, add, 1.0, c.bias, c.stride, c.padding, c.dilation, c.groups)


def convolve(x: Tensor, c: nn.Conv2d, add: Tensor | None = None, relu: bool = True) -> Tensor:
    """See operators.convolve; by the way that was fastest for this shape when it was first seen."""
    if c.kernel_size != (1, 1):
        return cudnn(x, c, add, relu)
    shape = (x.device, tuple(x.shape), c.out_channels, c.stride, add is not None, relu)
    if shape not in _chosen:
        _chosen[shape] = _fastest(x, c, add, relu)
    tile = _chosen[shape]
    return cudnn(x, c, add, relu) if tile is None else pointwise(x, c, add, relu, tile)


def _fastest(x: Tensor, c: nn.Conv2d, add: Tensor | None, relu: bool) -> tuple[int, ...] | None:
    """The best tile, or None where cuDNN is better."""
    fitting = [tile for tile in TILES if c.out_channels % tile[1] == 0 and c.in_channels % tile[2] == 0]
    calls = {None: lambda: cudnn(x, c, add, relu)}
    calls |= {tile: (lambda tile=tile: pointwise(x, c, add, relu, tile)) for tile in fitting}
    with torch.cuda.stream(torch.cuda.Stream(x.device)):
        return min(calls, key=lambda tile: do_bench_cudagraph(calls[tile], rep=MEASURE_MS, return_mode="median"))
