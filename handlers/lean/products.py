"""Matrix products of few rows, fused with what comes before and after them: selected rows, GELU, layer norms, and the
maximum and sum of each tile of logits.

There are three kernels. ``multiply`` computes a complete product. ``multiply_before_norm`` computes a product whose
layer norm the next product completes (norms.py). ``multiply_in_parts`` splits the depth between programs.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from handlers.lean.launch import launch, lines, prefetch, wait_for_previous_kernel
from handlers.lean.norms import COLUMNS, Unnormed, add_norm, fold, load_statistics, store_statistics
from handlers.lean.ranking import TILE

# Measured on an H100. Up to FEW_ROWS rows, these kernels with prefetched weights beat cuBLAS: one text of 128 tokens,
# not one of 256. Up to SPLIT_ROWS rows, a product before a norm is fastest with its depth split in PARTS.
FEW_ROWS = 128
SPLIT_ROWS = 256
PARTS = 4
WARPS = {"num_warps": 4, "num_stages": 4}


@triton.jit
def tanh_gelu(x, fast: tl.constexpr):
    """GELU in its tanh form (Hendrycks and Gimpel, 2016).

    BERT's up-projection of 128 tokens was measured on an H100, from the end of the kernel before it to its own end:
    7.2 us with erf, and 5.9 us with the tanh form computed by exp and a division. Once the layer norm was part of this
    kernel, it took 6.1 us with exp and 5.5 us with the GPU's tanh instruction. That instruction has a relative error of
    2^-11 (PTX ISA), which is fp16's own.
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
def _place(count, classes, rows: tl.constexpr, columns: tl.constexpr):
    """The rows and columns of the result that this program computes, and the number of its tile of columns."""
    across = tl.cdiv(classes, columns)
    tile = tl.program_id(0) % across
    row = tl.program_id(0) // across * rows + tl.arange(0, rows)
    return row, tile * columns + tl.arange(0, columns), tile


@triton.jit
def _sum_products(x, source, row, weight, column, count, classes, first, span: tl.constexpr, depth: tl.constexpr,
                  step: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr, even: tl.constexpr):  # fmt: skip
    """The rows ``source`` of x times the rows ``column`` of weight, over ``span`` numbers from ``first`` on. With
    ``even``, all columns lie within the classes."""
    item = first + tl.arange(0, step)
    sums = tl.zeros((rows, columns), tl.float32)
    for _ in range(0, span, step):
        left = tl.load(x + source[:, None] * depth + item[None, :], row[:, None] < count, 0.0)
        at = weight + column[None, :] * depth + item[:, None]
        right = tl.load(at) if even else tl.load(at, column[None, :] < classes, 0.0)
        sums = tl.dot(left, right, sums)
        item += step
    return sums


@triton.jit
def _product(x, weight, bias, against, sums_of, out, tiles, count, classes, norm_tiles, depth: tl.constexpr,
             rows: tl.constexpr, columns: tl.constexpr, step: tl.constexpr, gelu: tl.constexpr, ahead: tl.constexpr,
             extent: tl.constexpr, even: tl.constexpr, block: tl.constexpr, epsilon: tl.constexpr,
             pdl: tl.constexpr):  # fmt: skip
    """x @ weight.T + bias for [count, depth] and [classes, depth].

    With ``against``, x is the ``scaled`` tensor of an Unnormed: ``sums_of`` and ``norm_tiles`` are its statistics and
    their number per row, and norms.fold gave ``bias`` and ``against``. ``tiles`` is filled as ranking.py says.
    ``against`` and ``tiles`` may be None.
    """
    row, column, tile = _place(count, classes, rows, columns)
    offset = tl.load(bias + column, column < classes, 0.0).to(tl.float32)
    if against is not None:
        shrink = tl.load(against + column, column < classes, 0.0)
    if pdl and ahead:
        prefetch(weight + tl.minimum(column, classes - 1) * depth, depth, extent)
    wait_for_previous_kernel(pdl)
    if against is not None:
        mean, scale = load_statistics(sums_of, row, count, norm_tiles, depth, block, epsilon)
    sums = _sum_products(x, row, row, weight, column, count, classes, 0, depth, depth, step, rows, columns, even)
    if against is not None:
        sums = (sums - mean[:, None] * shrink[None, :]) * scale[:, None]
    sums += offset[None, :]
    if gelu:
        sums = tanh_gelu(sums, pdl)
    at = row[:, None] * classes + column[None, :]
    tl.store(out + at, sums.to(out.dtype.element_ty), (row[:, None] < count) & (column[None, :] < classes))
    if tiles is not None:
        sums = tl.where(column[None, :] < classes, sums, -float("inf"))
        top = tl.max(sums, 1)
        at = tiles + tile * 2 * count + row
        tl.store(at, top, row < count)
        tl.store(at + count, tl.sum(tl.exp(sums - top[:, None]), 1), row < count)


@triton.jit
def _product_before_norm(x, picked, weight, bias, residual, gain, raw, scaled, sums_of, count, classes, stretch,
                         depth: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr, step: tl.constexpr,
                         gelu: tl.constexpr, ahead: tl.constexpr, extent: tl.constexpr,
                         pdl: tl.constexpr):  # fmt: skip
    """Writes x @ weight.T + bias + residual into the tensors of an Unnormed. ``columns`` divides the classes.

    With ``picked``, row n of the result is computed from row picked[n] of the n-th ``stretch`` rows of x. ``residual``,
    ``picked`` and ``raw`` may be None; their part of the work is then left out.
    """
    row, column, tile = _place(count, classes, rows, columns)
    offset, factor = tl.load(bias + column).to(tl.float32), tl.load(gain + column).to(tl.float32)
    if pdl and ahead:
        prefetch(weight + column * depth, depth, extent)
    wait_for_previous_kernel(pdl)
    source = row
    if picked is not None:
        source = row * stretch + tl.load(picked + row, row < count, 0)
    at, kept = row[:, None] * classes + column[None, :], row[:, None] < count
    if residual is not None:
        beside = tl.load(residual + at, kept, 0.0)
    sums = _sum_products(x, source, row, weight, column, count, classes, 0, depth, depth, step, rows, columns, True)
    sums += offset[None, :]
    if residual is not None:
        sums += beside.to(tl.float32)
    if gelu:
        sums = tanh_gelu(sums, pdl)
    if raw is not None:
        tl.store(raw + at, sums.to(raw.dtype.element_ty), kept)
    tl.store(scaled + at, (sums * factor[None, :]).to(scaled.dtype.element_ty), kept)
    store_statistics(sums, sums_of, row, count, tile, tl.cdiv(classes, columns), columns)


@triton.jit
def _product_in_parts(x, weight, out, count, classes, depth: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr,
                      step: tl.constexpr, parts: tl.constexpr, ahead: tl.constexpr, extent: tl.constexpr,
                      even: tl.constexpr, pdl: tl.constexpr):  # fmt: skip
    """x @ weight.T, [parts, count, classes]: a program multiplies one of ``parts`` stretches of the depth."""
    row, column, _ = _place(count, classes, rows, columns)
    span: tl.constexpr = depth // parts
    first = tl.program_id(1) * span
    if pdl and ahead:
        prefetch(weight + tl.minimum(column, classes - 1) * depth + first, span, extent)
    wait_for_previous_kernel(pdl)
    sums = _sum_products(x, row, row, weight, column, count, classes, first, span, depth, step, rows, columns, even)
    at = (tl.program_id(1) * count + row[:, None]) * classes + column[None, :]
    tl.store(out + at, sums.to(out.dtype.element_ty), (row[:, None] < count) & (column[None, :] < classes))


def _rows(count: int) -> int:
    return 64 if count > 32 else 32 if count > 16 else 16


def _step(span: int, *steps: int) -> int:
    """The largest of the ``steps`` along the depth that divides ``span``."""
    return next(each for each in (*steps, 64, 32, 16) if span % each == 0)


def multiply(
    x: Tensor | Unnormed, linear: nn.Linear, count: int, out: Tensor, gelu: bool = False, tiles: Tensor | None = None
) -> None:
    """Writes linear(x), of ``count`` rows, into ``out``; with ``gelu`` through GELU. ``tiles``: see
    ranking.py."""
    depth, classes, rows = linear.in_features, linear.out_features, _rows(count)
    columns = TILE if tiles is not None else 64 if classes > 2048 else 32
    bias: Tensor = linear.bias
    against, sums, norm_tiles, epsilon = None, None, 0, 0.0
    if isinstance(x, Unnormed):
        against, bias = fold(linear, x.norm)
        sums, epsilon, norm_tiles = x.sums, x.norm.eps, x.sums.size(2)
        x = x.scaled
    launch(
        _product, (triton.cdiv(count, rows) * triton.cdiv(classes, columns), 1), linear.weight.device, x, linear.weight,
        bias, against, sums, out, tiles, count, classes, norm_tiles, depth, rows, columns, _step(depth), gelu,
        count <= FEW_ROWS, lines(depth), classes % columns == 0, triton.next_power_of_2(norm_tiles), epsilon, **WARPS,
    )  # fmt: skip


def multiply_before_norm(
    x: Tensor, linear: nn.Linear, count: int, out: Unnormed, *, gelu: bool = False, residual: Tensor | None = None,
    picked: Tensor | None = None, stretch: int = 0,
) -> None:  # fmt: skip
    """Writes linear(x), of ``count`` rows, plus ``residual``, into ``out``; with ``gelu`` through GELU.

    ``picked``, int64 [count]: row n is the picked[n]-th of the n-th ``stretch`` rows of ``x``.
    """
    depth, classes, rows = linear.in_features, linear.out_features, _rows(count)
    launch(
        _product_before_norm, (triton.cdiv(count, rows) * (classes // COLUMNS), 1), linear.weight.device, x, picked,
        linear.weight, linear.bias, residual, out.norm.weight, out.raw, out.scaled, out.sums, count, classes, stretch,
        depth, rows, COLUMNS, _step(depth, 128), gelu, count <= FEW_ROWS, lines(depth), **WARPS,
    )  # fmt: skip


def multiply_in_parts(x: Tensor, linear: nn.Linear, count: int, out: Tensor) -> None:
    """Writes the partial products of linear(x), without its bias, into ``out`` [parts, count, classes]. The caller sums
    them."""
    depth, classes, rows, columns, parts = linear.in_features, linear.out_features, _rows(count), 64, len(out)
    launch(
        _product_in_parts, (triton.cdiv(count, rows) * triton.cdiv(classes, columns), parts), linear.weight.device, x,
        linear.weight, out, count, classes, depth, rows, columns, _step(depth // parts), parts, count <= FEW_ROWS,
        lines(depth // parts), classes % columns == 0, **WARPS,
    )  # fmt: skip


def linear_add_norm(x: Tensor, linear: nn.Linear, residual: Tensor | Unnormed, norm: nn.LayerNorm) -> Tensor:
    """norm(linear(x) + residual), of the shape of ``residual``."""
    count = x.numel() // linear.in_features
    if count > SPLIT_ROWS:
        return add_norm(linear(x), linear.bias, 1, residual, norm)
    y = torch.empty(PARTS, count, linear.out_features, device=x.device, dtype=x.dtype)
    multiply_in_parts(x, linear, count, y)
    return add_norm(y, linear.bias, PARTS, residual, norm)
