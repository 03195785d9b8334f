"""A matrix product of e4m3 with GELU, whose result is e4m3 again, in one kernel for Hopper.

cuBLASLt's product would write fp16, and another kernel would read that again: 4,096 rows of BERT-base's up-projection
took 21.5 + 6.7 us on an H200, and 20.5 us in this kernel. cuBLASLt's own epilogue for it took 26.5 us. For the other
three products cuBLASLt was faster than this kernel without GELU.
"""

from __future__ import annotations

from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor, nn
from triton.tools.tensor_descriptor import TensorDescriptor

from handlers.lean.launch import launch, wait_for_previous_kernel
from handlers.lean.norms import in_range
from handlers.lean.products import tanh_gelu

ROWS, COLUMNS, STEP = 128, 128, 128  # a tile of the result, and how much of the depth is loaded at once
PROGRAMS = 2  # per multiprocessor: while one writes its tile, the other multiplies


@triton.jit
def _product_gelu(x, weight, out, bias, scale, inverse, count, classes, depth: tl.constexpr, rows: tl.constexpr,
                  columns: tl.constexpr, step: tl.constexpr, programs: tl.constexpr, pdl: tl.constexpr):  # fmt: skip
    """GELU(x @ weight.T * scale + bias) * inverse, of the descriptors of e4m3 [count, depth] and [classes, depth]. A
    program computes every ``programs``-th tile, and loads the next one while it writes one."""
    across = classes // columns
    wait_for_previous_kernel(pdl)
    for tile in tl.range(tl.program_id(0), count // rows * across, programs, flatten=True):
        row, first = tile // across * rows, tile % across * columns
        sums = tl.zeros((rows, columns), tl.float32)
        for at in range(0, depth, step):
            sums = tl.dot(x.load([row, at]), weight.load([first, at]).T, sums)
        column = first + tl.arange(0, columns)
        sums = sums * scale + tl.load(bias + column).to(tl.float32)[None, :]
        out.store([row, first], in_range(tanh_gelu(sums, pdl), inverse).to(out.dtype))


@cache
def _multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


def tiles_divide(count: int, layer: nn.Linear) -> bool:
    """Whether the tiles divide a product of ``count`` rows, which ``multiply_gelu`` asks for."""
    return not (count % ROWS or layer.out_features % COLUMNS or layer.in_features % STEP)


def multiply_gelu(x: Tensor, weight: Tensor, bias: Tensor, scale: float, out: Tensor, inverse: float) -> None:
    """Writes GELU(x @ weight.T * scale + bias) * inverse into ``out`` [count, classes], e4m3 as ``x`` [count, depth]
    and ``weight`` [classes, depth]. The tiles have to divide the sizes."""
    (count, depth), classes = x.shape, len(weight)
    tiles = count // ROWS * (classes // COLUMNS)
    programs = min(tiles, PROGRAMS * _multiprocessors(x.device))
    launch(
        _product_gelu, (programs,), x.device, TensorDescriptor.from_tensor(x, [ROWS, STEP]),
        TensorDescriptor.from_tensor(weight, [COLUMNS, STEP]), TensorDescriptor.from_tensor(out, [ROWS, COLUMNS]), bias,
        scale, inverse, count, classes, depth, ROWS, COLUMNS, STEP, programs, num_warps=4, num_stages=3,
    )  # fmt: skip
