"""The operations of the lean networks in fp16 on a GPU, mostly Triton kernels; operators.py says what each computes.

Those of texts are here; what images need besides comes from images.py and pointwise.py. A small batch leaves most of
a GPU idle: products of few rows are split along their depth, and the layer norm that follows adds the parts up. Inputs
and results may lie in pinned host memory, which saves a copy of each.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from handlers.lean.images import max_pool, mean, normalise
from handlers.lean.launch import after_the_kernel_before, launch, let_the_next_start, lines, prefetch
from handlers.lean.pointwise import convolve
from handlers.scores import TILE

__all__ = [
    "attention", "convolve", "embed", "linear", "linear_add_norm", "linear_gelu", "max_pool", "mean", "normalise",
    "normed", "pick_linear_gelu", "pool", "scores",
]  # fmt: skip

# Rows of a product up to which, on an H100, ...
FEW_ROWS = 128  # ... ours with its weights asked for early beats cuBLAS: one text of 128 tokens; of 256 it loses
SPLIT_ROWS = 256  # ... one split along its depth does
PARTS = 4
LOG2_E = 1.4426950408889634


@triton.jit
def _normed(value, inside, gain, shift, width: tl.constexpr, epsilon: tl.constexpr):
    centred = tl.where(inside, value - tl.sum(value, 0) / width, 0.0)
    scale = tl.rsqrt(tl.sum(centred * centred, 0) / width + epsilon)
    return centred * scale * gain + shift


@triton.jit
def _parameters(vector, columns, inside):
    return tl.load(vector + columns, inside, 0.0).to(tl.float32)


@triton.jit
def _embed(ids, mask, kept, words, positions, weight, bias, out, length, width: tl.constexpr, block: tl.constexpr,
           epsilon: tl.constexpr, masked: tl.constexpr, pdl: tl.constexpr):  # fmt: skip
    row = tl.program_id(0)
    columns = tl.arange(0, block)
    inside = columns < width
    gain, shift = _parameters(weight, columns, inside), _parameters(bias, columns, inside)
    value = _parameters(positions + (row % length) * width, columns, inside)
    after_the_kernel_before(pdl)
    token = tl.load(ids + row)
    if masked:
        tl.store(kept + row, (tl.load(mask + row) != 0).to(tl.int8))
    value += _parameters(words + token * width, columns, inside)
    value = _normed(value, inside, gain, shift, width, epsilon)
    tl.store(out + row * width + columns, value.to(out.dtype.element_ty), inside)


def embed(
    ids: Tensor, mask: Tensor | None, words: Tensor, positions: Tensor, norm: nn.LayerNorm
) -> tuple[Tensor, Tensor | None]:
    """See operators.embed; the mask comes back as int8."""
    batch, length = ids.shape
    width = words.size(1)
    out = torch.empty(batch, length, width, device=words.device, dtype=words.dtype)
    kept = None if mask is None else torch.empty(batch, length, device=words.device, dtype=torch.int8)
    launch(
        _embed, (batch * length,), words.device, ids, ids if mask is None else mask, out if kept is None else kept,
        words, positions, norm.weight, norm.bias, out, length, width, triton.next_power_of_2(width), norm.eps,
        mask is not None, num_warps=4,
    )  # fmt: skip
    return out, kept


@triton.jit
def _attention(qkv, mask, out, length, scale, heads: tl.constexpr, size: tl.constexpr, rows: tl.constexpr,
               columns: tl.constexpr, masked: tl.constexpr, pdl: tl.constexpr):  # fmt: skip
    """Online softmax over blocks of keys (Dao et al., FlashAttention, 2022); a program has some queries of one head."""
    width: tl.constexpr = heads * size
    batch = tl.program_id(1) // heads
    row = tl.program_id(0) * rows + tl.arange(0, rows)
    item = tl.arange(0, size)
    base = qkv + batch.to(tl.int64) * length * 3 * width + (tl.program_id(1) % heads) * size
    after_the_kernel_before(pdl)
    query = tl.load(base + row[:, None] * 3 * width + item[None, :], row[:, None] < length, 0.0)
    # A large finite number: a first block without any key left would make NaN of an infinity.
    top = tl.full((rows,), -1e30, tl.float32)
    total = tl.zeros((rows,), tl.float32)
    mixed = tl.zeros((rows, size), tl.float32)
    for first in range(0, length, columns):
        column = first + tl.arange(0, columns)
        inside = column < length
        key = tl.load(base + width + column[None, :] * 3 * width + item[:, None], inside[None, :], 0.0)
        keep = inside
        if masked:
            keep = tl.load(mask + batch * length + column, inside, 0) != 0
        score = tl.where(keep[None, :], tl.dot(query, key) * scale, -1e30)
        higher = tl.maximum(top, tl.max(score, 1))
        weight = tl.exp2(score - higher[:, None])
        fade = tl.exp2(top - higher)
        total = total * fade + tl.sum(weight, 1)
        value = tl.load(base + 2 * width + column[:, None] * 3 * width + item[None, :], inside[:, None], 0.0)
        mixed = tl.dot(weight.to(value.dtype), value, mixed * fade[:, None])
        top = higher
    at = out + (batch.to(tl.int64) * length + row[:, None]) * width + (tl.program_id(1) % heads) * size + item[None, :]
    tl.store(at, (mixed / total[:, None]).to(out.dtype.element_ty), row[:, None] < length)


def attention(qkv: Tensor, mask: Tensor | None, heads: int) -> Tensor:
    """See operators.attention."""
    batch, length, width = qkv.size(0), qkv.size(1), qkv.size(2) // 3
    out = torch.empty(batch, length, width, device=qkv.device, dtype=qkv.dtype)
    scale = LOG2_E / math.sqrt(width // heads)
    launch(
        _attention, (triton.cdiv(length, 64), batch * heads), qkv.device, qkv, qkv if mask is None else mask, out,
        length, scale, heads, width // heads, 64, 64, mask is not None, num_warps=4, num_stages=3,
    )  # fmt: skip
    return out


@triton.jit
def _product(x, picked, weight, bias, out, tiles, count, classes, depth: tl.constexpr, stretch, rows: tl.constexpr,
             columns: tl.constexpr, step: tl.constexpr, parts: tl.constexpr, pick: tl.constexpr, gelu: tl.constexpr,
             summed: tl.constexpr, ahead: tl.constexpr, extent: tl.constexpr, even: tl.constexpr,
             pdl: tl.constexpr):  # fmt: skip
    """x @ weight.T for [count, depth] and [classes, depth]. ``parts`` > 1: so many sums, without bias, in a row.

    GELU in its tanh form (Hendrycks and Gimpel, 2016): with erf, BERT's up-projection of 128 tokens ended 7.2 us after
    the kernel before it, so 5.9 us (H100, traced).
    """
    across = tl.cdiv(classes, columns)
    row = tl.program_id(0) // across * rows + tl.arange(0, rows)
    column = tl.program_id(0) % across * columns + tl.arange(0, columns)
    span: tl.constexpr = depth // parts
    item = tl.program_id(1) * span + tl.arange(0, step)
    source = row
    offset = tl.zeros((columns,), tl.float32)
    if parts == 1:
        offset = tl.load(bias + column, column < classes, 0.0).to(tl.float32)
    if pdl and ahead:
        prefetch(weight + tl.minimum(column, classes - 1) * depth + tl.program_id(1) * span, span, extent)
    after_the_kernel_before(pdl)
    if pick:  # row n is the picked[n]-th of the n-th stretch
        source = row * stretch + tl.load(picked + row, row < count, 0)
    sums = tl.zeros((rows, columns), tl.float32)
    for _ in range(0, span, step):
        left = tl.load(x + source[:, None] * depth + item[None, :], row[:, None] < count, 0.0)
        at = weight + column[None, :] * depth + item[:, None]
        right = tl.load(at) if even else tl.load(at, column[None, :] < classes, 0.0)
        sums = tl.dot(left, right, sums)
        item += step
    sums += offset[None, :]
    if gelu:
        sums *= tl.sigmoid(1.5957691216057308 * (sums + 0.044715 * sums * sums * sums))
    at = out + (tl.program_id(1) * count + row[:, None]) * classes + column[None, :]
    tl.store(at, sums.to(out.dtype.element_ty), (row[:, None] < count) & (column[None, :] < classes))
    if summed:
        sums = tl.where(column[None, :] < classes, sums, -float("inf"))
        top = tl.max(sums, 1)
        at = tiles + tl.program_id(0) % across * 2 * count + row
        tl.store(at, top, row < count)
        tl.store(at + count, tl.sum(tl.exp(sums - top[:, None]), 1), row < count)


def _multiply(x: Tensor, linear: nn.Linear, out: Tensor, count: int, *, parts: int = 1, gelu: bool = False,
              picked: Tensor | None = None, stretch: int = 0, tiles: Tensor | None = None) -> Tensor:  # fmt: skip
    depth, classes = linear.in_features, linear.out_features
    rows = 64 if count > 32 else 32 if count > 16 else 16
    columns = TILE if tiles is not None else 64 if parts > 1 or classes > 2048 else 32
    step = next(each for each in (64, 32, 16) if depth // parts % each == 0)
    grid = (triton.cdiv(count, rows) * triton.cdiv(classes, columns), parts)
    launch(
        _product, grid, linear.weight.device, x, x if picked is None else picked, linear.weight, linear.bias, out,
        out if tiles is None else tiles, count, classes, depth, stretch, rows, columns, step, parts,
        picked is not None, gelu, tiles is not None, count <= FEW_ROWS,
        lines(depth // parts), classes % columns == 0, num_warps=4, num_stages=4,
    )  # fmt: skip
    return out


@triton.jit
def _add_norm(x, offset, residual, weight, bias, out, count, width: tl.constexpr, block: tl.constexpr,
              parts: tl.constexpr, epsilon: tl.constexpr, pdl: tl.constexpr):  # fmt: skip
    row = tl.program_id(0)
    columns = tl.arange(0, block)
    inside = columns < width
    if parts == 0:  # alone between few rows and a vocabulary, whose many weights may as well be on their way
        let_the_next_start(pdl)
    gain, shift = _parameters(weight, columns, inside), _parameters(bias, columns, inside)
    value = tl.zeros((block,), tl.float32)
    if parts > 1:  # a product in parts comes without its bias
        value = _parameters(offset, columns, inside)
    after_the_kernel_before(pdl)
    value += tl.load(residual + row * width + columns, inside, 0.0).to(tl.float32)
    for part in tl.static_range(parts):
        value += tl.load(x + (part * count + row) * width + columns, inside, 0.0).to(tl.float32)
    value = _normed(value, inside, gain, shift, width, epsilon)
    tl.store(out + row * width + columns, value.to(out.dtype.element_ty), inside)


def linear_add_norm(x: Tensor, linear: nn.Linear, residual: Tensor, norm: nn.LayerNorm) -> Tensor:
    """See operators.linear_add_norm."""
    width = linear.out_features
    count = x.numel() // linear.in_features
    parts = PARTS if count <= SPLIT_ROWS else 1
    if parts > 1:
        y = torch.empty(parts, count, width, device=x.device, dtype=x.dtype)
        _multiply(x, linear, y, count, parts=parts)
    else:
        y = linear(x)
    out = torch.empty_like(residual)
    launch(
        _add_norm, (count,), x.device, y, linear.bias, residual, norm.weight, norm.bias, out, count, width,
        triton.next_power_of_2(width), parts, norm.eps, num_warps=4,
    )  # fmt: skip
    return out


def normed(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """See operators.normed."""
    out, (count, width) = torch.empty_like(x), x.shape
    launch(
        _add_norm, (count,), x.device, x, norm.bias, x, norm.weight, norm.bias, out, count, width,
        triton.next_power_of_2(width), 0, norm.eps, num_warps=4,
    )  # fmt: skip
    return out


def linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """See operators.linear."""
    count = x.numel() // layer.in_features
    return _few(x, layer, count) if count <= FEW_ROWS else layer(x)


def _few(x: Tensor, linear: nn.Linear, count: int, gelu: bool = False) -> Tensor:
    out = torch.empty(*x.shape[:-1], linear.out_features, device=x.device, dtype=x.dtype)
    return _multiply(x, linear, out, count, gelu=gelu)


def linear_gelu(x: Tensor, linear: nn.Linear) -> Tensor:
    """See operators.linear_gelu; in the tanh form, which cuBLASLt has as an epilogue."""
    count = x.numel() // linear.in_features
    if count <= FEW_ROWS:
        return _few(x, linear, count, gelu=True)
    flat = torch._addmm_activation(linear.bias, x.flatten(0, 1), linear.weight.t(), use_gelu=True)
    return flat.view(*x.shape[:-1], -1)


def pick_linear_gelu(x: Tensor, position: Tensor, linear: nn.Linear) -> Tensor:
    """See operators.pick_linear_gelu; in the tanh form."""
    out = torch.empty(x.size(0), linear.out_features, device=x.device, dtype=x.dtype)
    return _multiply(x, linear, out, x.size(0), gelu=True, picked=position, stretch=x.size(1))


def scores(x: Tensor, linear: nn.Linear, out: Tensor | None, tiles: Tensor | None = None) -> Tensor:
    """See operators.scores."""
    if out is None:
        out = torch.empty(x.size(0), linear.out_features, device=x.device)
    return _multiply(x, linear, out, x.size(0), tiles=tiles)


@triton.jit
def _pool(x, mask, out, length, width: tl.constexpr, block: tl.constexpr, step: tl.constexpr, masked: tl.constexpr,
          pdl: tl.constexpr):  # fmt: skip
    batch = tl.program_id(0)
    columns = tl.arange(0, block)
    inside = columns < width
    after_the_kernel_before(pdl)
    sums = tl.zeros((block,), tl.float32)
    for first in range(0, length, step):
        row = first + tl.arange(0, step)
        keep = row < length
        if masked:
            keep = tl.load(mask + batch * length + row, keep, 0) != 0
        at = x + (batch * length + row[:, None]) * width + columns[None, :]
        sums += tl.sum(tl.load(at, keep[:, None] & inside[None, :], 0.0).to(tl.float32), 0)
    # The mean's divisor cancels against the norm's.
    tl.store(out + batch * width + columns, sums / tl.sqrt(tl.maximum(tl.sum(sums * sums, 0), 1e-24)), inside)


def pool(x: Tensor, mask: Tensor | None, out: Tensor | None) -> Tensor:
    """See operators.pool."""
    batch, length, width = x.shape
    if out is None:
        out = torch.empty(batch, width, device=x.device)
    launch(
        _pool, (batch,), x.device, x, x if mask is None else mask, out, length, width, triton.next_power_of_2(width),
        16, mask is not None, num_warps=8,
    )  # fmt: skip
    return out
