"""The likeliest classes of each row of logits, in two steps. The product that makes the logits stores the maximum and
the sum of exponentials of each tile of classes. One kernel ranks by these, so nothing reads all logits again.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from handlers.lean.launch import launch, wait_for_previous_kernel
from handlers.scores import FEW

TILE = 64  # classes; a power of two


def tiles_of(out: Tensor, linear: nn.Linear) -> Tensor:
    """float32 [ceil(classes / TILE), 2, rows], uninitialised: for each tile of classes and each row, the maximum logit
    and the sum of exp(logit - maximum)."""
    return torch.empty(triton.cdiv(out.size(1), TILE), 2, len(out), device=linear.weight.device)


@triton.jit
def _rank(logits, tiles, classes_out, scores_out, count, classes, parts, wanted, block: tl.constexpr, few: tl.constexpr,
          tile: tl.constexpr, pdl: tl.constexpr):  # fmt: skip
    """A program ranks one row. Its ``few`` best classes lie in the tiles with the ``few`` largest maxima."""
    row = tl.program_id(0)
    part, place = tl.arange(0, block), tl.arange(0, few)
    inside = part < parts
    wait_for_previous_kernel(pdl)
    tops = tl.load(tiles + part * 2 * count + row, inside, -float("inf"))
    sums = tl.load(tiles + part * 2 * count + count + row, inside, 0.0)
    peak = tl.max(tops, 0)
    total = tl.sum(sums * tl.exp(tops - peak), 0)
    picked = tl.full((few,), 0, tl.int32)
    for at in tl.static_range(few):
        which = tl.argmax(tops, 0)
        picked = tl.where(place == at, which, picked)
        tops = tl.where(part == which, -float("inf"), tops)
    columns = tl.reshape(picked[:, None] * tile + tl.arange(0, tile)[None, :], (few * tile,))
    number = tl.arange(0, few * tile)
    known = (number // tile < parts) & (columns < classes)
    found = tl.load(logits + row.to(tl.int64) * classes + columns, known, -float("inf"))
    for at in tl.static_range(few):
        which = tl.argmax(found, 0)
        best = tl.sum(tl.where(number == which, columns, 0), 0)
        tl.store(classes_out + row * wanted + at, best, at < wanted)
        tl.store(scores_out + row * wanted + at, tl.exp(tl.max(found, 0) - peak) / total, at < wanted)
        found = tl.where(number == which, -float("inf"), found)


def rank(logits: Tensor, tiles: Tensor, classes: Tensor, scores: Tensor) -> None:
    """Writes the likeliest classes of float32 [N, C] ``logits`` and their softmax probabilities into ``classes``, int32
    [N, K], and ``scores``, float32 [N, K]; K is at most FEW. ``tiles`` comes from ``products.multiply``."""
    parts = len(tiles)
    launch(
        _rank, (len(logits),), tiles.device, logits, tiles, classes, scores, len(logits), logits.size(1), parts,
        classes.size(1), triton.next_power_of_2(parts), FEW, TILE, num_warps=1,
    )  # fmt: skip
