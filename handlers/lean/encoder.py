"""Text encoders of BERT's kind. Query, key and value are one product, neighbouring operations are fused, and where no
text is padded there is no mask.

Knows no library's checkpoint: text_families.py converts the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from handlers.lean import operators
from handlers.lean.fp8 import MANY_ROWS, Scales, encode
from handlers.lean.heads import HEADS

HEAD_SIZES = (16, 32, 64, 128)  # of the attention kernel
MULTIPLE = 64  # The products' sizes have to be multiples of it.


class LeanEmbeddings(nn.Module):
    """Tables of words, positions and token types, and the norm of their sum.

    ``positions`` starts at the first position of a text and includes token type 0. ``types`` holds each type minus
    type 0; it is None for a model with one token type.
    """

    def __init__(self, spec: Mapping[str, Any]) -> None:
        super().__init__()
        width = spec["embedding_width"]
        self.words = nn.Embedding(spec["vocabulary"], width)
        self.positions = nn.Embedding(spec["positions"], width)
        self.types = nn.Embedding(spec["types"], width) if spec["types"] > 1 else None
        self.norm = nn.LayerNorm(width, spec["epsilon"])


class LeanLayer(nn.Module):
    """One encoder layer with its norms behind the residual connections (post-norm)."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        super().__init__()
        width, inner, epsilon = spec["width"], spec["inner"], spec["epsilon"]
        self.heads, self.activation = spec["heads"], spec["activation"]
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)
        self.attention_norm, self.norm = nn.LayerNorm(width, epsilon), nn.LayerNorm(width, epsilon)

    def forward(self, x: Tensor, mask: Tensor | None, ops: ModuleType) -> Tensor:
        mixed = ops.attention(ops.linear(x, self.qkv), mask, self.heads)
        found: Tensor = ops.feed_forward(mixed, x, self)
        return found


class LeanEncoder(nn.Module):
    """Embeddings, encoder layers and a head (heads.py), described by a ``spec`` of plain values.

    Its matrix products run in fp8 where the spec has "fp8" (fp8.py) and a batch has at least ``fp8_rows`` tokens.
    ``plain_reason`` says why the kernels do not support these sizes. Plain operators then run on a GPU as well. It is
    None where the kernels support them.
    """

    def __init__(self, spec: Mapping[str, Any]) -> None:
        super().__init__()
        self.plain_reason = _plain_reason(spec)
        self.embeddings = LeanEmbeddings(spec)
        widths = spec["embedding_width"], spec["width"]
        self.project = nn.Linear(*widths) if widths[0] != widths[1] else None
        self.layers = nn.ModuleList(LeanLayer(spec) for _ in range(spec["layers"]))
        self.head = HEADS[spec["head"]["kind"]](spec)
        self.scales: list[Scales] = spec.get("fp8", [])
        self.fp8_rows = MANY_ROWS

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        mask_position: Tensor | None = None,
        out: tuple[Tensor, ...] | None = None,
        best: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, ...]:
        """The head's outputs, in the order of Settings.outputs.

        ``input_ids``, ``attention_mask`` and ``token_type_ids`` are int64 [N, L], right-padded; ``mask_position`` is
        int64 [N], for a "mask" head. Without ``attention_mask`` nothing is padded; without ``token_type_ids`` all
        tokens have type 0. Inputs may lie in pinned host memory, and so may ``out``, float32 tensors that the outputs
        are written to. ``best``, for a "mask" head only, is filled as operators.scores says.

        Raises ValueError for texts with more tokens than the model has positions.
        """
        if input_ids.size(1) > (most := self.embeddings.positions.num_embeddings):  # a kernel would read past the table
            raise ValueError(f"The texts have {input_ids.size(1)} tokens; this model takes {most} at most.")
        ops = self._operators()
        x, mask, position = ops.embed(input_ids, attention_mask, token_type_ids, mask_position, self.embeddings)
        if self.project is not None:
            x = ops.linear(x, self.project)
        if self.scales and input_ids.numel() >= self.fp8_rows:
            x = encode(x, mask, self.layers, self.scales)
        else:
            for layer in self.layers:
                x = layer(x, mask, ops)
        outputs: tuple[Tensor, ...] = self.head(x, mask, position, ops, out, best)
        return outputs

    def _operators(self) -> ModuleType:
        """The module of operations: ``kernels`` on a GPU, in fp16, for sizes that divide into their tiles; else
        ``operators``."""
        weight = self.embeddings.words.weight
        if weight.is_cuda and weight.dtype == torch.float16 and self.plain_reason is None:
            from handlers.lean import kernels

            return kernels
        return operators


def _plain_reason(spec: Mapping[str, Any]) -> str | None:
    for name in ("width", "inner", "embedding_width"):
        if spec[name] % MULTIPLE:
            return f"{name.replace('_', ' ')} {spec[name]} is no multiple of {MULTIPLE}"
    if (size := spec["width"] // spec["heads"]) not in HEAD_SIZES:
        return f"attention heads of {size} numbers are none of {', '.join(map(str, HEAD_SIZES))}"
    for activation in (spec["activation"], spec["mask_activation"]):
        if not activation.startswith("gelu"):
            return f"the kernels have no activation {activation!r}"
    return None
