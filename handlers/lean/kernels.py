"""The operations of the lean networks in fp16 on a GPU, mostly Triton kernels; operators.py says what each computes.

This file has the operations of texts, and products.py their matrix products. images.py and convolutions.py have the
operations of images. A small batch leaves most of a GPU idle. So products of few rows prefetch their weights, are split
along their depth or include the layer norm before them. Inputs and results may lie in pinned host memory, which saves
copies.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from handlers.lean import fp8, operators
from handlers.lean.convolutions import convolve
from handlers.lean.images import max_pool, mean, normalise
from handlers.lean.launch import launch, wait_for_previous_kernel
from handlers.lean.norms import Unnormed, in_range, normed, parameters
from handlers.lean.products import FEW_ROWS, linear_add_norm, multiply, multiply_before_norm
from handlers.lean.ranking import rank, tiles_of

if TYPE_CHECKING:
    from handlers.lean.encoder import LeanEmbeddings, LeanLayer
    from handlers.lean.heads import MaskHead

__all__ = [
    "attention", "convolve", "embed", "feed_forward", "linear", "max_pool", "mean", "normalise",
    "pick_transform_norm", "pool", "scores",
]  # fmt: skip

# Up to so many tokens, a kernel reads their numbers from the host itself. Each of its programs waits for its own, so
# that the kernel took 79 us for 1,024 tokens on an H200. More are copied to the GPU before.
FEW_TOKENS = 64
LOG2_E = 1.4426950408889634


@triton.jit
def _embed(ids, mask, mask_out, types, position, position_out, words, positions, type_table, weight, bias, out, length,
           width: tl.constexpr, block: tl.constexpr, epsilon: tl.constexpr, pdl: tl.constexpr):  # fmt: skip
    """A program computes one token. ``mask`` and ``position`` may lie on the host; ``mask_out`` and ``position_out``
    receive copies of them. Where a pointer is None, its part is skipped."""
    row = tl.program_id(0)
    columns = tl.arange(0, block)
    inside = columns < width
    gain, shift = parameters(weight, columns, inside), parameters(bias, columns, inside)
    value = parameters(positions + (row % length) * width, columns, inside)
    wait_for_previous_kernel(pdl)
    token = tl.load(ids + row)
    if types is not None:
        value += parameters(type_table + tl.load(types + row) * width, columns, inside)
    if mask is not None:
        tl.store(mask_out + row, (tl.load(mask + row) != 0).to(tl.int8))
    if position is not None:  # read once per text: a read from the host's memory takes longer than the rest
        once = row % length == 0
        tl.store(position_out + row // length, tl.load(position + row // length, once, 0), once)
    value += parameters(words + token * width, columns, inside)
    value = normed(value, inside, gain, shift, width, epsilon)
    tl.store(out + row * width + columns, value.to(out.dtype.element_ty), inside)


def embed(
    ids: Tensor, mask: Tensor | None, types: Tensor | None, position: Tensor | None, tables: LeanEmbeddings
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """See operators.embed; the mask is returned as int8."""
    batch, length = ids.shape
    words, norm = tables.words.weight, tables.norm
    width, device = words.size(1), words.device
    if ids.numel() > FEW_TOKENS:
        ids = ids.to(device, non_blocking=True)
        mask, types = (None if each is None else each.to(device, non_blocking=True) for each in (mask, types))
    out = torch.empty(batch, length, width, device=device, dtype=words.dtype)
    mask_out = None if mask is None else torch.empty(batch, length, device=device, dtype=torch.int8)
    position_out = None if position is None else torch.empty(batch, device=device, dtype=position.dtype)
    type_table = None
    if types is not None:
        assert tables.types is not None  # a model of one token type is given none
        type_table = tables.types.weight
    launch(
        _embed, (batch * length,), device, ids, mask, mask_out, types, position, position_out, words,
        tables.positions.weight, type_table, norm.weight, norm.bias, out, length, width, triton.next_power_of_2(width),
        norm.eps, num_warps=4,
    )  # fmt: skip
    return out, mask_out, position_out


@triton.jit
def _attention(qkv, mask, out, inverse, length, scale, heads: tl.constexpr, size: tl.constexpr, rows: tl.constexpr,
               columns: tl.constexpr, pdl: tl.constexpr):  # fmt: skip
    """Online softmax over blocks of keys (Dao et al., FlashAttention, 2022); a program computes ``rows`` queries. With
    ``inverse``, the result is written as e4m3, times ``inverse``."""
    width: tl.constexpr = heads * size
    batch = tl.program_id(1) // heads
    row = tl.program_id(0) * rows + tl.arange(0, rows)
    item = tl.arange(0, size)
    base = qkv + batch.to(tl.int64) * length * 3 * width + (tl.program_id(1) % heads) * size
    wait_for_previous_kernel(pdl)
    query = tl.load(base + row[:, None] * 3 * width + item[None, :], row[:, None] < length, 0.0)
    # A large finite number: with infinity, a first block whose keys are all masked would give NaN.
    top = tl.full((rows,), -1e30, tl.float32)
    total = tl.zeros((rows,), tl.float32)
    mixed = tl.zeros((rows, size), tl.float32)
    for first in range(0, length, columns):
        column = first + tl.arange(0, columns)
        inside = column < length
        key = tl.load(base + width + column[None, :] * 3 * width + item[:, None], inside[None, :], 0.0)
        keep = inside
        if mask is not None:
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
    mixed /= total[:, None]
    if inverse is not None:
        mixed = in_range(mixed, inverse)
    tl.store(at, mixed.to(out.dtype.element_ty), row[:, None] < length)


def attention(qkv: Tensor, mask: Tensor | None, heads: int, input_scale: float | None = None) -> Tensor:
    """See operators.attention. With ``input_scale``, that of the product that follows, the result is e4m3."""
    batch, length, width = qkv.size(0), qkv.size(1), qkv.size(2) // 3
    dtype, inverse = (qkv.dtype, None) if input_scale is None else (fp8.E4M3, 1 / input_scale)
    out = torch.empty(batch, length, width, device=qkv.device, dtype=dtype)
    scale = LOG2_E / math.sqrt(width // heads)
    launch(
        _attention, (triton.cdiv(length, 64), batch * heads), qkv.device, qkv, mask, out, inverse, length, scale,
        heads, width // heads, 64, 64, num_warps=4, num_stages=3,
    )  # fmt: skip
    return out


def linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """See operators.linear."""
    count = x.numel() // layer.in_features
    return _few(x, layer, count) if count <= FEW_ROWS else operators.linear(x, layer)


def _few(x: Tensor | Unnormed, linear: nn.Linear, count: int, gelu: bool = False) -> Tensor:
    like = x.scaled if isinstance(x, Unnormed) else x
    out = torch.empty(*like.shape[:-1], linear.out_features, device=like.device, dtype=like.dtype)
    multiply(x, linear, count, out, gelu=gelu)
    return out


def feed_forward(mixed: Tensor, x: Tensor, layer: LeanLayer) -> Tensor:
    """See operators.feed_forward; GELU is always the tanh form, which cuBLASLt has as an epilogue."""
    count = x.numel() // x.size(-1)
    if count <= FEW_ROWS:
        unnormed = Unnormed.empty(x.shape, layer.attention_norm, x, raw=True)
        multiply_before_norm(mixed, layer.out, count, unnormed, residual=x)
        return linear_add_norm(_few(unnormed, layer.up, count, gelu=True), layer.down, unnormed, layer.norm)
    middle = linear_add_norm(mixed, layer.out, x, layer.attention_norm)
    flat = torch._addmm_activation(layer.up.bias, middle.flatten(0, 1), layer.up.weight.t(), use_gelu=True)
    return linear_add_norm(flat, layer.down, middle, layer.norm)


def pick_transform_norm(x: Tensor, position: Tensor, head: MaskHead) -> Unnormed:
    """See operators.pick_transform_norm; GELU is the tanh form, and the norm is left to ``scores``."""
    unnormed = Unnormed.empty((x.size(0), head.transform.out_features), head.norm, x, raw=False)
    multiply_before_norm(x, head.transform, x.size(0), unnormed, gelu=True, picked=position, stretch=x.size(1))
    return unnormed


def scores(
    x: Tensor | Unnormed, linear: nn.Linear, out: Tensor | None, best: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """See operators.scores."""
    count = len(x.scaled if isinstance(x, Unnormed) else x)
    if out is None:
        out = torch.empty(count, linear.out_features, device=linear.weight.device)
    tiles = tiles_of(out, linear) if best else None
    multiply(x, linear, count, out, tiles=tiles)
    if best is not None and tiles is not None:
        rank(out, tiles, *best)
    return out


@triton.jit
def _pool(x, mask, out, length, width: tl.constexpr, block: tl.constexpr, step: tl.constexpr, pooling: tl.constexpr,
          normalize: tl.constexpr, pdl: tl.constexpr):  # fmt: skip
    """A program pools one text and reads ``step`` of its tokens at once."""
    batch = tl.program_id(0)
    columns = tl.arange(0, block)
    inside = columns < width
    wait_for_previous_kernel(pdl)
    if pooling == "cls":
        pooled = tl.load(x + batch * length * width + columns, inside, 0.0).to(tl.float32)
    else:
        lowest: tl.constexpr = -float("inf") if pooling == "max" else 0.0
        pooled = tl.full((block,), lowest, tl.float32)
        tokens = tl.full((step,), 0, tl.int32)
        for first in range(0, length, step):
            row = first + tl.arange(0, step)
            keep = row < length
            if mask is not None:
                keep = tl.load(mask + batch * length + row, keep, 0) != 0
            at = x + (batch * length + row[:, None]) * width + columns[None, :]
            rows = tl.load(at, keep[:, None] & inside[None, :], lowest).to(tl.float32)
            if pooling == "max":
                pooled = tl.maximum(pooled, tl.max(rows, 0))
            else:
                pooled += tl.sum(rows, 0)
                tokens += keep.to(tl.int32)
        if pooling == "mean" and not normalize:  # otherwise the mean's divisor cancels against the norm's
            pooled /= tl.sum(tokens, 0).to(tl.float32)
    if normalize:
        squares = tl.sum(tl.where(inside, pooled * pooled, 0.0), 0)
        pooled /= tl.sqrt(tl.maximum(squares, 1e-24))
    tl.store(out + batch * width + columns, pooled, inside)


def pool(x: Tensor, mask: Tensor | None, out: Tensor | None, pooling: str = "mean", normalize: bool = True) -> Tensor:
    """See operators.pool."""
    batch, length, width = x.shape
    if out is None:
        out = torch.empty(batch, width, device=x.device)
    launch(
        _pool, (batch,), x.device, x, mask, out, length, width, triton.next_power_of_2(width), 16, pooling, normalize,
        num_warps=8,
    )  # fmt: skip
    return out
