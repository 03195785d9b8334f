"""Heads of text encoders: they make an embedding, or the logits of a task, of hidden states.

Each head takes hidden states [N, L, W], mask [N, L] or None, position [N] or None, the operators, the tensors to write
the outputs to or None, and ``best`` (operators.scores, mask head only) or None. It returns a tuple of outputs.
Per-token outputs are meaningless where the text is padded.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from handlers.lean.operators import activate

Out = tuple[Tensor, ...] | None
Best = tuple[Tensor, Tensor] | None


class PooledHead(nn.Module):
    """One vector per text, [N, W]: the mean or maximum of its tokens, or its first token."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        super().__init__()
        self.pooling, self.normalize = spec["head"]["pooling"], spec["head"]["normalize"]

    def forward(
        self, x: Tensor, mask: Tensor | None, position: Tensor | None, ops: ModuleType, out: Out, best: Best
    ) -> tuple[Tensor, ...]:
        return (ops.pool(x, mask, _first(out), self.pooling, self.normalize),)


class MaskHead(nn.Module):
    """Logits over the vocabulary at one position of each text, [N, vocabulary]."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        super().__init__()
        width = spec["embedding_width"]
        self.activation = spec["mask_activation"]
        self.transform, self.norm = nn.Linear(spec["width"], width), nn.LayerNorm(width, spec["epsilon"])
        self.decoder = nn.Linear(width, spec["vocabulary"])

    def forward(
        self, x: Tensor, mask: Tensor | None, position: Tensor | None, ops: ModuleType, out: Out, best: Best
    ) -> tuple[Tensor, ...]:
        picked = ops.pick_transform_norm(x, position, self)
        return (ops.scores(picked, self.decoder, _first(out), best),)


class ClassificationHead(nn.Module):
    """Logits of the whole text, [N, classes]: two layers over its first token."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        super().__init__()
        self.activation = spec["class_activation"]
        self.dense, self.classifier = nn.Linear(spec["width"], spec["width"]), nn.Linear(spec["width"], spec["classes"])

    def forward(
        self, x: Tensor, mask: Tensor | None, position: Tensor | None, ops: ModuleType, out: Out, best: Best
    ) -> tuple[Tensor, ...]:
        first = activate(ops.linear(x[:, 0].contiguous(), self.dense), self.activation)
        return (ops.scores(first, self.classifier, _first(out)),)


class TokensHead(nn.Module):
    """Logits of each token, [N, L, classes]."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        super().__init__()
        self.classifier = nn.Linear(spec["width"], spec["classes"])

    def forward(
        self, x: Tensor, mask: Tensor | None, position: Tensor | None, ops: ModuleType, out: Out, best: Best
    ) -> tuple[Tensor, ...]:
        flat = None if out is None else out[0].flatten(0, 1)
        return (ops.scores(x.flatten(0, 1), self.classifier, flat).unflatten(0, x.shape[:2]),)


class SpanHead(nn.Module):
    """Logits of each token as the first and as the last one of an answer, [N, L] and [N, L]."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        super().__init__()
        self.start, self.end = nn.Linear(spec["width"], 1), nn.Linear(spec["width"], 1)

    def forward(
        self, x: Tensor, mask: Tensor | None, position: Tensor | None, ops: ModuleType, out: Out, best: Best
    ) -> tuple[Tensor, ...]:
        flat, shape = x.flatten(0, 1), x.shape[:2]
        outputs = (None, None) if out is None else tuple(each.view(-1, 1) for each in out)
        return tuple(
            ops.scores(flat, linear, each).view(shape)
            for linear, each in zip((self.start, self.end), outputs, strict=True)
        )


HEADS: dict[str, type[nn.Module]] = {
    "pooled": PooledHead,
    "mask": MaskHead,
    "classification": ClassificationHead,
    "tokens": TokensHead,
    "span": SpanHead,
}


def _first(out: Out) -> Tensor | None:
    return None if out is None else out[0]
