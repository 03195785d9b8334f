"""The operations of the lean networks in plain PyTorch: what ``kernels`` computes, on any device.

Inputs may lie on the host; they are moved to the weights' device. ``out`` is a float32 tensor that a result is written
to, on the host as a rule; without it the result is returned as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from handlers.scores import TILE


def embed(
    ids: Tensor, mask: Tensor | None, position: Tensor | None, words: Tensor, positions: Tensor, norm: nn.LayerNorm
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """norm(words[ids] + positions), [N, L, W], and mask and position on the weights' device.

    ``ids``, ``mask``: int64 [N, L]; ``position``: int64 [N].
    """
    ids, mask, position = (
        None if each is None else each.to(words.device, non_blocking=True) for each in (ids, mask, position)
    )
    return norm(F.embedding(ids, words) + positions[: ids.size(1)]), mask, position


def attention(qkv: Tensor, mask: Tensor | None, heads: int) -> Tensor:
    """Self-attention over [N, L, 3W] (query, key, value side by side), [N, L, W]; ``mask`` 0 leaves a key out."""
    batch, length, width = qkv.shape
    query, key, value = qkv.view(batch, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
    keep = None if mask is None else mask[:, None, None, :].to(torch.bool)
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=keep)
    return mixed.transpose(1, 2).reshape(batch, length, width // 3)


def linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """layer(x), of ``x`` [N, L, W]."""
    return layer(x)


def feed_forward(mixed: Tensor, x: Tensor, layer: nn.Module) -> Tensor:
    """All of a LeanLayer behind its attention ``mixed``, [N, L, W]; ``x`` went into the layer."""
    x = layer.attention_norm(layer.out(mixed) + x)
    return layer.norm(layer.down(F.gelu(layer.up(x))) + x)


def pick_linear_gelu_norm(x: Tensor, position: Tensor, linear: nn.Linear, norm: nn.LayerNorm) -> Tensor:
    """norm(gelu(linear(x[n, position[n]]))), [N, W], of ``x`` [N, L, W] and int64 ``position`` [N]; for scores."""
    index = position.view(-1, 1, 1).expand(-1, 1, x.size(2))
    return norm(F.gelu(linear(x.gather(1, index).squeeze(1))))


def scores(x: Tensor, linear: nn.Linear, out: Tensor | None, tiles: Tensor | None = None) -> Tensor:
    """linear(x), [N, classes]. ``tiles``, [ceil(classes / TILE), 2, N], takes what handlers.scores.best_by_tiles
    wants to know: of each tile the largest, and the sum of exp(score - largest)."""
    logits = linear(x).float()
    if tiles is not None:
        padded = F.pad(logits, (0, -logits.size(1) % TILE), value=-float("inf")).unflatten(1, (-1, TILE))
        top = padded.amax(2)
        tiles.copy_(torch.stack([top, (padded - top[:, :, None]).exp().sum(2)], 1).permute(2, 1, 0), non_blocking=True)
    return _give(logits, out)


def pool(x: Tensor, mask: Tensor | None, out: Tensor | None) -> Tensor:
    """The mean of ``x`` [N, L, W] over the tokens that ``mask`` keeps, to unit length, [N, W]."""
    if mask is None:
        return _give(F.normalize(x.float().mean(dim=1), dim=1), out)
    weights = mask.unsqueeze(-1).to(torch.float32)
    mean = (x.float() * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)
    return _give(F.normalize(mean, dim=1), out)


def normalise(pixels: Tensor, scale: Tensor, shift: Tensor, channels: int, dtype: torch.dtype) -> Tensor:
    """uint8 [N, H, W, 3] to ``pixels * scale + shift`` as [N, channels, H, W], zeros beyond the third channel."""
    images = pixels.to(scale.device, non_blocking=True).to(dtype) * scale + shift
    return F.pad(images, (0, channels - 3)).permute(0, 3, 1, 2)


def convolve(x: Tensor, c: nn.Conv2d, add: Tensor | None = None, relu: bool = True) -> Tensor:
    """The convolution, plus ``add``, through ReLU."""
    y = c(x) if add is None else c(x) + add
    return F.relu(y) if relu else y


def max_pool(x: Tensor) -> Tensor:
    """The largest of 3 x 3 pixels around every second one, [N, C, H, W] to [N, C, ceil(H / 2), ceil(W / 2)]."""
    return F.max_pool2d(x, 3, 2, 1)


def mean(x: Tensor) -> Tensor:
    """The mean of each channel, [N, C, H, W] to [N, C]."""
    return x.mean((2, 3))


def _give(result: Tensor, out: Tensor | None) -> Tensor:
    return result if out is None else out.copy_(result.float(), non_blocking=True)
