"""The operations of the lean networks in plain PyTorch, on any device. ``kernels`` computes the same on a GPU.

Inputs may lie on the host; they are moved to the weights' device. ``out`` is a float32 tensor, usually on the host,
that the result is written to. Without it a new tensor is returned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:  # they import this module
    from handlers.lean.encoder import LeanEmbeddings, LeanLayer
    from handlers.lean.heads import MaskHead


def activate(x: Tensor, name: str) -> Tensor:
    """``x`` through the activation "gelu", "gelu_tanh" (its approximation by tanh), "relu" or "tanh"."""
    if name == "gelu_tanh":
        return F.gelu(x, approximate="tanh")
    functions: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "relu": F.relu, "tanh": torch.tanh}
    return functions[name](x)


def embed(
    ids: Tensor, mask: Tensor | None, types: Tensor | None, position: Tensor | None, tables: LeanEmbeddings
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The norm of the sum of the word, position and token type embeddings, [N, L, W]; and ``mask`` and ``position`` on
    the weights' device.

    ``ids``, ``mask`` and ``types`` are int64 [N, L], ``position`` is int64 [N].
    """
    device = tables.words.weight.device
    ids = ids.to(device, non_blocking=True)
    mask, types, position = (
        None if each is None else each.to(device, non_blocking=True) for each in (mask, types, position)
    )
    sums: Tensor = tables.words(ids) + tables.positions.weight[: ids.size(1)]
    if types is not None:
        assert tables.types is not None  # a model of one token type is given none
        sums = sums + tables.types(types)
    return tables.norm(sums), mask, position


def attention(qkv: Tensor, mask: Tensor | None, heads: int) -> Tensor:
    """Self-attention over [N, L, 3W] (query, key, value side by side), [N, L, W]; a key whose ``mask`` is 0 is
    ignored."""
    batch, length, width = qkv.shape
    query, key, value = qkv.view(batch, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
    keep = None if mask is None else mask[:, None, None, :].to(torch.bool)
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=keep)
    return mixed.transpose(1, 2).reshape(batch, length, width // 3)


def linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """layer(x), of ``x`` [N, L, W]."""
    found: Tensor = layer(x)
    return found


def feed_forward(mixed: Tensor, x: Tensor, layer: LeanLayer) -> Tensor:
    """The part of ``layer`` after its attention: output projection, norm, up- and down-projection, norm. ``mixed``,
    [N, L, W], is the result of the attention; ``x`` is the layer's input."""
    x = layer.attention_norm(layer.out(mixed) + x)
    found: Tensor = layer.norm(layer.down(activate(layer.up(x), layer.activation)) + x)
    return found


def pick_transform_norm(x: Tensor, position: Tensor, head: MaskHead) -> Tensor:
    """The head's transform, activation and norm of the rows x[n, position[n]]. ``scores`` takes the result.

    ``x`` is [N, L, W], ``position`` int64 [N].
    """
    index = position.view(-1, 1, 1).expand(-1, 1, x.size(2))
    picked = x.gather(1, index).squeeze(1)
    found: Tensor = head.norm(activate(head.transform(picked), head.activation))
    return found


def scores(
    x: Tensor, linear: nn.Linear, out: Tensor | None, best: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """linear(x), [rows, classes], in float32.

    ``best``, int32 and float32 [rows, K], receives the K likeliest classes and their softmax probabilities.
    """
    logits = linear(x).float()
    if best is not None:
        probabilities, classes = logits.softmax(1).topk(best[0].size(1))
        best[0].copy_(classes, non_blocking=True)
        best[1].copy_(probabilities, non_blocking=True)
    return _give(logits, out)


def pool(x: Tensor, mask: Tensor | None, out: Tensor | None, pooling: str = "mean", normalize: bool = True) -> Tensor:
    """The "mean" or "max" of ``x`` [N, L, W] over the tokens that ``mask`` keeps, or its first token ("cls"), [N, W]
    in float32; ``normalize`` scales it to unit length."""
    x = x.float()
    if pooling == "cls":
        pooled = x[:, 0]
    elif pooling == "max":
        pooled = (x if mask is None else x.masked_fill(mask[:, :, None] == 0, -float("inf"))).amax(1)
    elif mask is None:
        pooled = x.mean(1)
    else:
        weights = mask[:, :, None].float()
        pooled = (x * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
    return _give(F.normalize(pooled, dim=1) if normalize else pooled, out)


def normalise(pixels: Tensor, scale: Tensor, shift: Tensor, channels: int, dtype: torch.dtype) -> Tensor:
    """uint8 [N, H, W, 3] to ``pixels * scale + shift`` as [N, channels, H, W], zeros beyond the third channel."""
    images = pixels.to(scale.device, non_blocking=True).to(dtype) * scale + shift
    return F.pad(images, (0, channels - 3)).permute(0, 3, 1, 2)


def padding_of(c: nn.Conv2d) -> tuple[int, ...]:
    """Pixels on each side; a network that names its padding has no lean form."""
    assert not isinstance(c.padding, str)
    return c.padding


def convolve(x: Tensor, c: nn.Conv2d, add: Tensor | None = None, relu: bool = True) -> Tensor:
    """The convolution, plus ``add``, through ReLU."""
    y = c(x) if add is None else c(x) + add
    return F.relu(y) if relu else y


def max_pool(x: Tensor) -> Tensor:
    """The largest of 3 x 3 pixels around every second one, [N, C, H, W] to [N, C, ceil(H / 2), ceil(W / 2)]."""
    return F.max_pool2d(x, 3, 2, 1)


def mean(x: Tensor, out: Tensor | None = None) -> Tensor:
    """The mean of each channel, [N, C, H, W] to [N, C]."""
    return _give(x.mean((2, 3)), out)


def _give(result: Tensor, out: Tensor | None) -> Tensor:
    return result if out is None else out.copy_(result.float(), non_blocking=True)
