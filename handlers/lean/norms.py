"""Layer norms: whole ones, and those that are left to the product which comes next.

norm(x) @ W.T = (x * gain @ W.T - mean * (W @ gain)) / deviation + W @ shift, row by row. So whoever writes x can leave
x * gain, and of each row some sums, and whoever multiplies it by W does the rest: no kernel in between, which would
have little to do and everybody to wait for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from handlers.lean.launch import after_the_kernel_before, launch

COLUMNS = 16  # of a tile whose sums are left


@dataclass(frozen=True)
class Unnormed:
    """fp16 rows that ``norm`` is still to be applied to.

    ``scaled`` is what they are times its gain, ``raw`` (for a residual connection, or None) what they are; ``sums``,
    float32 [2, rows, tiles], takes of each tile of COLUMNS what ``tell`` says.
    """

    scaled: Tensor
    raw: Tensor | None
    sums: Tensor
    norm: nn.LayerNorm

    @classmethod
    def empty(cls, shape: Sequence[int], norm: nn.LayerNorm, like: Tensor, raw: bool) -> Unnormed:
        """Of that shape, whose last size COLUMNS divides; on the device and of the type of ``like``."""
        scaled = torch.empty(shape, device=like.device, dtype=like.dtype)
        sums = torch.empty(2, scaled.numel() // shape[-1], shape[-1] // COLUMNS, device=like.device)
        return cls(scaled, torch.empty_like(scaled) if raw else None, sums, norm)


_folded: WeakKeyDictionary[nn.Linear, tuple[Tensor, Tensor]] = WeakKeyDictionary()


def fold(linear: nn.Linear, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """weight @ gain and weight @ shift + bias, float32 [classes]; computed once: weights do not change here, and a
    product comes behind one norm."""
    if linear not in _folded:
        weight = linear.weight.float()
        _folded[linear] = weight @ norm.weight.float(), weight @ norm.bias.float() + linear.bias.float()
    return _folded[linear]


@triton.jit
def tell(sums, stats, row, count, tile, tiles, columns: tl.constexpr):
    """Leaves each row's sum over this tile, and the sum of squares of what differs from the tile's mean."""
    total = tl.sum(sums, 1)
    centred = sums - (total / columns)[:, None]
    at = stats + row * tiles + tile
    tl.store(at, total, row < count)
    tl.store(at + count * tiles, tl.sum(centred * centred, 1), row < count)


@triton.jit
def told(stats, row, count, tiles, width, block: tl.constexpr, epsilon: tl.constexpr):
    """Mean and reciprocal deviation of each row, from what ``tell`` left (Chan et al., 1979)."""
    tile = tl.arange(0, block)
    inside = (row[:, None] < count) & (tile[None, :] < tiles)
    at = stats + row[:, None] * tiles + tile[None, :]
    totals, squares = tl.load(at, inside, 0.0), tl.load(at + count * tiles, inside, 0.0)
    mean, each = tl.sum(totals, 1) / width, width / tiles
    apart = tl.where(inside, totals / each - mean[:, None], 0.0)
    return mean, tl.rsqrt(tl.sum(squares + apart * apart * each, 1) / width + epsilon)


@triton.jit
def parameters(vector, columns, inside):
    return tl.load(vector + columns, inside, 0.0).to(tl.float32)


@triton.jit
def normed(value, inside, gain, shift, width: tl.constexpr, epsilon: tl.constexpr):
    centred = tl.where(inside, value - tl.sum(value, 0) / width, 0.0)
    scale = tl.rsqrt(tl.sum(centred * centred, 0) / width + epsilon)
    return centred * scale * gain + shift


@triton.jit
def _add_norm(x, offset, residual, before, beneath, weight, bias, out, count, width: tl.constexpr, block: tl.constexpr,
              parts: tl.constexpr, earlier: tl.constexpr, epsilon: tl.constexpr, pdl: tl.constexpr):  # fmt: skip
    """norm(x + residual); ``before`` and ``beneath``: gain and shift of a residual that has to be normed itself."""
    row = tl.program_id(0)
    columns = tl.arange(0, block)
    inside = columns < width
    gain, shift = parameters(weight, columns, inside), parameters(bias, columns, inside)
    value = tl.zeros((block,), tl.float32)
    if parts > 1:  # a product in parts comes without its bias
        value = parameters(offset, columns, inside)
    if before is not None:
        higher, lower = parameters(before, columns, inside), parameters(beneath, columns, inside)
    after_the_kernel_before(pdl)
    beside = tl.load(residual + row * width + columns, inside, 0.0).to(tl.float32)
    if before is not None:
        beside = normed(beside, inside, higher, lower, width, earlier)
    value += beside
    for part in tl.static_range(parts):
        value += tl.load(x + (part * count + row) * width + columns, inside, 0.0).to(tl.float32)
    value = normed(value, inside, gain, shift, width, epsilon)
    tl.store(out + row * width + columns, value.to(out.dtype.element_ty), inside)


def add_norm(x: Tensor, bias: Tensor, parts: int, residual: Tensor | Unnormed, norm: nn.LayerNorm) -> Tensor:
    """norm(x + residual), of the shape of ``residual``. ``parts`` > 1: ``x`` is their sum, and needs ``bias``."""
    before = beneath = None
    earlier = 0.0
    if isinstance(residual, Unnormed):
        before, beneath, earlier = residual.norm.weight, residual.norm.bias, residual.norm.eps
        residual = residual.raw
    out, width = torch.empty_like(residual), residual.size(-1)
    count = residual.numel() // width
    launch(
        _add_norm, (count,), x.device, x, bias, residual, before, beneath, norm.weight, norm.bias, out, count, width,
        triton.next_power_of_2(width), parts, earlier, norm.eps, num_warps=4,
    )  # fmt: skip
    return out
