"""The operations of the lean networks in fp16 on a GPU, mostly Triton kernels; operators.py says what each computes.

Here are those of texts; products.py has their matrix products, images.py and convolutions.py what images need. A small
batch leaves most of a GPU idle: products of few rows ask for their weights early, are split along their depth or take
over the layer norm before them. Inputs and results may lie in pinned host memory, which saves a copy of each.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from handlers.lean.convolutions import convolve
from handlers.lean.images import max_pool, mean, normalise
from handlers.lean.launch import after_the_kernel_before, launch
from handlers.lean.norms import Unnormed, normed, parameters
from handlers.lean.products import FEW_ROWS, linear_add_norm, multiply

__all__ = [
    "attention", "convolve", "embed", "feed_forward", "linear", "max_pool", "mean", "normalise",
    "pick_linear_gelu_norm", "pool", "scores",
]  # fmt: skip

LOG2_E = 1.4426950408889634


@triton.jit
def _embed(ids, mask, kept, position, place, words, positions, weight, bias, out, length, width: tl.constexpr,
           block: tl.constexpr, epsilon: tl.constexpr, pdl: tl.constexpr):  # fmt: skip
    row = tl.program_id(0)
    columns = tl.arange(0, block)
    inside = columns < width
    gain, shift = parameters(weight, columns, inside), parameters(bias, columns, inside)
    value = parameters(positions + (row % length) * width, columns, inside)
    after_the_kernel_before(pdl)
    token = tl.load(ids + row)
    if mask is not None:
        tl.store(kept + row, (tl.load(mask + row) != 0).to(tl.int8))
    if position is not None:
        tl.store(place + row // length, tl.load(position + row // length))
    value += parameters(words + token * width, columns, inside)
    value = normed(value, inside, gain, shift, width, epsilon)
    tl.store(out + row * width + columns, value.to(out.dtype.element_ty), inside)


def embed(
    ids: Tensor, mask: Tensor | None, position: Tensor | None, words: Tensor, positions: Tensor, norm: nn.LayerNorm
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """See operators.embed; the mask comes back as int8."""
    batch, length = ids.shape
    width = words.size(1)
    out = torch.empty(batch, length, width, device=words.device, dtype=words.dtype)
    kept = None if mask is None else torch.empty(batch, length, device=words.device, dtype=torch.int8)
    place = None if position is None else torch.empty(batch, device=words.device, dtype=position.dtype)
    launch(
        _embed, (batch * length,), words.device, ids, mask, kept, position, place, words, positions, norm.weight,
        norm.bias, out, length, width, triton.next_power_of_2(width), norm.eps, num_warps=4,
    )  # fmt: skip
    return out, kept, place


@triton.jit
def _attention(qkv, mask, out, length, scale, heads: tl.constexpr, size: tl.constexpr, rows: tl.constexpr,
               columns: tl.constexpr, pdl: tl.constexpr):  # fmt: skip
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
    tl.store(at, (mixed / total[:, None]).to(out.dtype.element_ty), row[:, None] < length)


def attention(qkv: Tensor, mask: Tensor | None, heads: int) -> Tensor:
    """See operators.attention."""
    batch, length, width = qkv.size(0), qkv.size(1), qkv.size(2) // 3
    out = torch.empty(batch, length, width, device=qkv.device, dtype=qkv.dtype)
    scale = LOG2_E / math.sqrt(width // heads)
    launch(
        _attention, (triton.cdiv(length, 64), batch * heads), qkv.device, qkv, mask, out, length, scale,
        heads, width // heads, 64, 64, num_warps=4, num_stages=3,
    )  # fmt: skip
    return out


def linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """See operators.linear."""
    count = x.numel() // layer.in_features
    return _few(x, layer, count) if count <= FEW_ROWS else layer(x)


def _few(x: Tensor | Unnormed, linear: nn.Linear, count: int, gelu: bool = False) -> Tensor:
    like = x.scaled if isinstance(x, Unnormed) else x
    out = torch.empty(*like.shape[:-1], linear.out_features, device=like.device, dtype=like.dtype)
    multiply(x, linear, count, out, gelu=gelu)
    return out


def feed_forward(mixed: Tensor, x: Tensor, layer: nn.Module) -> Tensor:
    """See operators.feed_forward; GELU in its tanh form, which cuBLASLt has as an epilogue."""
    count = x.numel() // x.size(-1)
    if count <= FEW_ROWS:
        middle = Unnormed.empty(x.shape, layer.attention_norm, x, raw=True)
        multiply(mixed, layer.out, count, middle, residual=x)
        return linear_add_norm(_few(middle, layer.up, count, gelu=True), layer.down, middle, layer.norm)
    middle = linear_add_norm(mixed, layer.out, x, layer.attention_norm)
    flat = torch._addmm_activation(layer.up.bias, middle.flatten(0, 1), layer.up.weight.t(), use_gelu=True)
    return linear_add_norm(flat, layer.down, middle, layer.norm)


def pick_linear_gelu_norm(x: Tensor, position: Tensor, linear: nn.Linear, norm: nn.LayerNorm) -> Unnormed:
    """See operators.pick_linear_gelu_norm; in the tanh form, and left to ``scores`` to norm."""
    unnormed = Unnormed.empty((x.size(0), linear.out_features), norm, x, raw=False)
    multiply(x, linear, x.size(0), unnormed, gelu=True, picked=position, stretch=x.size(1))
    return unnormed


def scores(x: Tensor | Unnormed, linear: nn.Linear, out: Tensor | None, tiles: Tensor | None = None) -> Tensor:
    """See operators.scores."""
    count = len(x.scaled if isinstance(x, Unnormed) else x)
    if out is None:
        out = torch.empty(count, linear.out_features, device=linear.weight.device)
    multiply(x, linear, count, out, tiles=tiles)
    return out


@triton.jit
def _pool(x, mask, out, length, width: tl.constexpr, block: tl.constexpr, step: tl.constexpr, pdl: tl.constexpr):
    batch = tl.program_id(0)
    columns = tl.arange(0, block)
    inside = columns < width
    after_the_kernel_before(pdl)
    sums = tl.zeros((block,), tl.float32)
    for first in range(0, length, step):
        row = first + tl.arange(0, step)
        keep = row < length
        if mask is not None:
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
        _pool, (batch,), x.device, x, mask, out, length, width, triton.next_power_of_2(width), 16,
        num_warps=8,
    )  # fmt: skip
    return out
