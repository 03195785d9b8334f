"""Layer norms: complete ones, and ones that the next matrix product completes.

norm(x) @ W.T = (x * gain @ W.T - mean * (W @ gain)) / deviation + W @ shift, row by row. So the kernel that computes x
writes x * gain and partial sums of each row, and the product with W needs no norm kernel before it. Such a kernel has
little work at small batches, but it would cost a launch and a wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from handlers.lean.launch import launch, wait_for_previous_kernel

COLUMNS = 16  # columns of a row that one partial sum covers


@dataclass(frozen=True)
class Unnormed:
    """fp16 rows x that ``norm`` has not been applied to yet.

    ``scaled`` is x times the norm's gain; ``raw`` is x itself, for a residual connection, or None. ``sums``, float32
    [2, rows, tiles], has the statistics of each tile of COLUMNS (store_statistics).
    """

    scaled: Tensor
    raw: Tensor | None
    sums: Tensor
    norm: nn.LayerNorm

    @classmethod
    def empty(cls, shape: Sequence[int], norm: nn.LayerNorm, like: Tensor, raw: bool) -> Unnormed:
        """Uninitialised rows of ``shape``, whose last size COLUMNS divides, with the device and type of ``like``."""
        scaled = torch.empty(shape, device=like.device, dtype=like.dtype)
        sums = torch.empty(2, scaled.numel() // shape[-1], shape[-1] // COLUMNS, device=like.device)
        return cls(scaled, torch.empty_like(scaled) if raw else None, sums, norm)


_folded: WeakKeyDictionary[nn.Linear, tuple[Tensor, Tensor]] = WeakKeyDictionary()


def fold(linear: nn.Linear, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """weight @ gain and weight @ shift + bias, float32 [classes]. Computed once per layer: weights do not change, and
    the same norm always precedes the same layer."""
    if linear not in _folded:
        weight = linear.weight.float()
        _folded[linear] = weight @ norm.weight.float(), weight @ norm.bias.float() + linear.bias.float()
    return _folded[linear]


@triton.jit
def store_statistics(sums, stats, row, count, tile, tiles, columns: tl.constexpr):
    """Stores each row's sum over this tile, and the sum of its squared deviations from the tile's mean."""
    total = tl.sum(sums, 1)
    centred = sums - (total / columns)[:, None]
    at = stats + row * tiles + tile
    tl.store(at, total, row < count)
    tl.store(at + count * tiles, tl.sum(centred * centred, 1), row < count)


@triton.jit
def load_statistics(stats, row, count, tiles, width, block: tl.constexpr, epsilon: tl.constexpr):
    """Mean and reciprocal standard deviation of each row, combined from its tiles (Chan et al., 1979)."""
    tile = tl.arange(0, block)
    inside = (row[:, None] < count) & (tile[None, :] < tiles)
    at = stats + row[:, None] * tiles + tile[None, :]
    totals, squares = tl.load(at, inside, 0.0), tl.load(at + count * tiles, inside, 0.0)
    mean, each = tl.sum(totals, 1) / width, width / tiles
    apart = tl.where(inside, totals / each - mean[:, None], 0.0)
    return mean, tl.rsqrt(tl.sum(squares + apart * apart * each, 1) / width + epsilon)


@triton.jit
def parameters(vector, columns, inside):
    """These columns of a vector, in fp32; 0 for those that are not ``inside``."""
    return tl.load(vector + columns, inside, 0.0).to(tl.float32)


@triton.jit
def normed(value, inside, gain, shift, width: tl.constexpr, epsilon: tl.constexpr):
    """The layer norm of one row, whose columns are 0 where they are not ``inside``."""
    centred = tl.where(inside, value - tl.sum(value, 0) / width, 0.0)
    scale = tl.rsqrt(tl.sum(centred * centred, 0) / width + epsilon)
    return centred * scale * gain + shift


@triton.jit
def in_range(value, inverse):
    """``value`` times ``inverse``, limited to e4m3's range."""
    return tl.minimum(tl.maximum(value * inverse, -448.0), 448.0)


@triton.jit
def _add_norm(x, offset, residual, earlier_gain, earlier_shift, weight, bias, out, narrow, inverse, count,
              width: tl.constexpr, block: tl.constexpr, parts: tl.constexpr, earlier_epsilon: tl.constexpr,
              epsilon: tl.constexpr, pdl: tl.constexpr):  # fmt: skip
    """norm(x + residual). With ``earlier_gain``, the residual itself is normed first. With ``narrow``, the result is
    also written there as e4m3, times ``inverse``."""
    row = tl.program_id(0)
    columns = tl.arange(0, block)
    inside = columns < width
    gain, shift = parameters(weight, columns, inside), parameters(bias, columns, inside)
    value = tl.zeros((block,), tl.float32)
    if parts > 1:  # multiply_in_parts adds no bias
        value = parameters(offset, columns, inside)
    if earlier_gain is not None:
        higher, lower = parameters(earlier_gain, columns, inside), parameters(earlier_shift, columns, inside)
    wait_for_previous_kernel(pdl)
    beside = tl.load(residual + row * width + columns, inside, 0.0).to(tl.float32)
    if earlier_gain is not None:
        beside = normed(beside, inside, higher, lower, width, earlier_epsilon)
    value += beside
    for part in tl.static_range(parts):
        value += tl.load(x + (part * count + row) * width + columns, inside, 0.0).to(tl.float32)
    value = normed(value, inside, gain, shift, width, epsilon)
    tl.store(out + row * width + columns, value.to(out.dtype.element_ty), inside)
    if narrow is not None:
        tl.store(narrow + row * width + columns, in_range(value, inverse).to(narrow.dtype.element_ty), inside)


def add_norm(
    x: Tensor, bias: Tensor, parts: int, residual: Tensor | Unnormed, norm: nn.LayerNorm, narrow: Tensor | None = None,
    inverse: float | None = None,
) -> Tensor:  # fmt: skip
    """norm(x + residual), of the shape of ``residual``. With ``parts`` > 1, ``x`` holds that many partial products,
    whose sum still lacks ``bias``. ``narrow``, e4m3 of the same shape, receives the result times ``inverse``."""
    earlier_gain = earlier_shift = None
    earlier_epsilon = 0.0
    if isinstance(residual, Unnormed):
        earlier_gain, earlier_shift, earlier_epsilon = residual.norm.weight, residual.norm.bias, residual.norm.eps
        assert residual.raw is not None  # it was kept for this
        residual = residual.raw
    out, width = torch.empty_like(residual), residual.size(-1)
    count = residual.numel() // width
    launch(
        _add_norm, (count,), x.device, x, bias, residual, earlier_gain, earlier_shift, norm.weight, norm.bias, out,
        narrow, inverse, count, width, triton.next_power_of_2(width), parts, earlier_epsilon, norm.eps, num_warps=4,
    )  # fmt: skip
    return out
