"""Matrix products of few rows, with what comes before and after them: picked rows, GELU, norms, a tile's best class."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from handlers.lean.launch import after_the_kernel_before, launch, lines, prefetch
from handlers.lean.norms import COLUMNS, Unnormed, add_norm, fold, tell, told
from handlers.scores import TILE

# Rows up to which, on an H100, ...
FEW_ROWS = 128  # ... ours with its weights asked for early beats cuBLAS: one text of 128 tokens; of 256 it loses
SPLIT_ROWS = 256  # ... one before a norm is best split along its depth
PARTS = 4


@triton.jit
def _gelu(x, fast: tl.constexpr):
    """In its tanh form (Hendrycks and Gimpel, 2016).

    BERT's up-projection of 128 tokens ended 7.2 us after the kernel before it with erf and 5.9 us with exp and a
    division for tanh; with the norm before it in it, 6.1 us so and 5.5 us with the GPU's own tanh (H100, traced), whose
    relative error of 2^-11 (PTX ISA) is fp16's.
    """
    if fast:
        inner = x * (0.7978845608028654 + 0.035677408136300125 * x * x)
        tanh = tl.inline_asm_elementwise(
            "tanh.approx.f32 $0, $1;", "=f,f", [inner], dtype=tl.float32, is_pure=True, pack=1
        )
        x = 0.5 * x * tanh + 0.5 * x
    else:
        x *= tl.sigmoid(x * (1.5957691216057308 + 0.07135481627260025 * x * x))
    return x


@triton.jit
def _product(x, picked, weight, bias, residual, gain, against, sums_of, out, scaled, tiles, count, classes,
             depth: tl.constexpr, stretch, told_tiles, rows: tl.constexpr, columns: tl.constexpr, step: tl.constexpr,
             parts: tl.constexpr, gelu: tl.constexpr, ahead: tl.constexpr, extent: tl.constexpr, even: tl.constexpr,
             block: tl.constexpr, epsilon: tl.constexpr, pdl: tl.constexpr):  # fmt: skip
    """x @ weight.T for [count, depth] and [classes, depth]. ``parts`` > 1: so many sums, without bias, in a row.

    A pointer that is None leaves its part out. ``gain``: a norm follows that is left to the next product (norms.py);
    ``scaled`` and ``sums_of`` take what that needs. ``against``: such a norm came before; x is its ``scaled``, ``bias``
    and ``against`` are what norms.fold says, and ``sums_of`` has its sums, of ``told_tiles`` tiles.
    """
    across = tl.cdiv(classes, columns)
    tile = tl.program_id(0) % across
    row = tl.program_id(0) // across * rows + tl.arange(0, rows)
    column = tile * columns + tl.arange(0, columns)
    span: tl.constexpr = depth // parts
    item = tl.program_id(1) * span + tl.arange(0, step)
    source = row
    offset = tl.zeros((columns,), tl.float32)
    if parts == 1:
        offset = tl.load(bias + column, column < classes, 0.0).to(tl.float32)
    if against is not None:
        shrink = tl.load(against + column, column < classes, 0.0)
    if gain is not None:
        factor = tl.load(gain + column).to(tl.float32)
    if pdl and ahead:
        prefetch(weight + tl.minimum(column, classes - 1) * depth + tl.program_id(1) * span, span, extent)
    after_the_kernel_before(pdl)
    if picked is not None:  # row n is the picked[n]-th of the n-th stretch
        source = row * stretch + tl.load(picked + row, row < count, 0)
    if against is not None:
        mean, scale = told(sums_of, row, count, told_tiles, depth, block, epsilon)
    if residual is not None:
        beside = tl.load(residual + row[:, None] * classes + column[None, :], row[:, None] < count, 0.0)
    sums = tl.zeros((rows, columns), tl.float32)
    for _ in range(0, span, step):
        left = tl.load(x + source[:, None] * depth + item[None, :], row[:, None] < count, 0.0)
        at = weight + column[None, :] * depth + item[:, None]
        right = tl.load(at) if even else tl.load(at, column[None, :] < classes, 0.0)
        sums = tl.dot(left, right, sums)
        item += step
    if against is not None:
        sums = (sums - mean[:, None] * shrink[None, :]) * scale[:, None]
    sums += offset[None, :]
    if residual is not None:
        sums += beside.to(tl.float32)
    if gelu:
        sums = _gelu(sums, pdl)
    at = (tl.program_id(1) * count + row[:, None]) * classes + column[None, :]
    kept = (row[:, None] < count) & (column[None, :] < classes)
    if out is not None:
        tl.store(out + at, sums.to(out.dtype.element_ty), kept)
    if gain is not None:
        tl.store(scaled + at, (sums * factor[None, :]).to(scaled.dtype.element_ty), kept)
        tell(sums, sums_of, row, count, tile, across, columns)
    if tiles is not None:
        sums = tl.where(column[None, :] < classes, sums, -float("inf"))
        top = tl.max(sums, 1)
        at = tiles + tile * 2 * count + row
        tl.store(at, top, row < count)
        tl.store(at + count, tl.sum(tl.exp(sums - top[:, None]), 1), row < count)


def multiply(x: Tensor | Unnormed, linear: nn.Linear, count: int, out: Tensor | Unnormed, *, parts: int = 1,
             gelu: bool = False, picked: Tensor | None = None, stretch: int = 0, residual: Tensor | None = None,
             tiles: Tensor | None = None) -> None:  # fmt: skip
    """Writes linear(x), of ``count`` rows, into ``out``: plus ``residual``, through GELU, with a norm before or after.

    Not both norms: there is one place for sums. ``picked``, int64: row n is the picked[n]-th of the n-th ``stretch``
    rows. ``parts`` and ``tiles``: see above and operators.scores.
    """
    depth, classes = linear.in_features, linear.out_features
    rows = 64 if count > 32 else 32 if count > 16 else 16
    columns = TILE if tiles is not None else 64 if parts > 1 or classes > 2048 else 32
    steps = (64, 32, 16)
    bias, against, sums, told_tiles, epsilon = linear.bias, None, None, 0, 0.0
    if isinstance(x, Unnormed):
        against, bias = fold(linear, x.norm)
        x, sums, epsilon, told_tiles = x.scaled, x.sums, x.norm.eps, x.sums.size(2)
    gain = scaled = None
    if isinstance(out, Unnormed):
        gain, scaled, sums, out = out.norm.weight, out.scaled, out.sums, out.raw
        columns, steps = COLUMNS, (128, *steps)
    step = next(each for each in steps if depth // parts % each == 0)
    grid = (triton.cdiv(count, rows) * triton.cdiv(classes, columns), parts)
    launch(
        _product, grid, linear.weight.device, x, picked, linear.weight, bias, residual, gain, against, sums, out,
        scaled, tiles, count, classes, depth, stretch, told_tiles, rows, columns, step, parts, gelu,
        count <= FEW_ROWS, lines(depth // parts), classes % columns == 0, triton.next_power_of_2(told_tiles), epsilon,
        num_warps=4, num_stages=4,
    )  # fmt: skip


def linear_add_norm(x: Tensor, linear: nn.Linear, residual: Tensor | Unnormed, norm: nn.LayerNorm) -> Tensor:
    """norm(linear(x) + residual), of the shape of ``residual``."""
    count = x.numel() // linear.in_features
    if count > SPLIT_ROWS:
        return add_norm(linear(x), linear.bias, 1, residual, norm)
    y = torch.empty(PARTS, count, linear.out_features, device=x.device, dtype=x.dtype)
    multiply(x, linear, count, y, parts=PARTS)
    return add_norm(y, linear.bias, PARTS, residual, norm)
