"""BERT with one product for query, key and value, fused neighbours, and no mask where nothing is padded."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from handlers.lean import operators

EPSILON = 1e-12  # BERT's layer norms


class LeanLayer(nn.Module):
    """One BERT encoder layer, post-norm."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)
        self.attention_norm, self.norm = nn.LayerNorm(width, EPSILON), nn.LayerNorm(width, EPSILON)

    def forward(self, x: Tensor, mask: Tensor | None, ops: ModuleType) -> Tensor:
        mixed = ops.attention(ops.linear(x, self.qkv), mask, self.heads)
        return ops.feed_forward(mixed, x, self)


class LeanBert(nn.Module):
    """BERT for "embedding" or "fill-mask"; the same inputs and outputs as in handlers.architectures.

    ``attention_mask`` may be None: nothing is padded. Inputs may lie in pinned host memory; ``out``, float32
    [N, ``outputs``], too, and takes the result; ``tiles``, of "fill-mask", what operators.scores says of it.
    """

    def __init__(self, task: str, spec: dict[str, int]) -> None:
        super().__init__()
        self.task = task
        width = spec["width"]
        self.outputs = width if task == "embedding" else spec["vocabulary"]
        self._fits = width % 64 == 0 and spec["inner"] % 64 == 0 and width // spec["heads"] in (16, 32, 64, 128)
        self.words = nn.Embedding(spec["vocabulary"], width)
        self.positions = nn.Embedding(spec["positions"], width)  # with the type embedding of segment 0 added
        self.norm = nn.LayerNorm(width, EPSILON)
        self.layers = nn.ModuleList(LeanLayer(width, spec["heads"], spec["inner"]) for _ in range(spec["layers"]))
        if task == "fill-mask":
            self.transform, self.head_norm = nn.Linear(width, width), nn.LayerNorm(width, EPSILON)
            self.decoder = nn.Linear(width, spec["vocabulary"])

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        mask_position: Tensor | None = None,
        out: Tensor | None = None,
        tiles: Tensor | None = None,
    ) -> Tensor:
        ops = self._operators()
        x, mask, position = ops.embed(
            input_ids, attention_mask, mask_position, self.words.weight, self.positions.weight, self.norm
        )
        for layer in self.layers:
            x = layer(x, mask, ops)
        if self.task == "embedding":
            return ops.pool(x, mask, out)
        picked = ops.pick_linear_gelu_norm(x, position, self.transform, self.head_norm)
        return ops.scores(picked, self.decoder, out, tiles)

    def _operators(self) -> ModuleType:
        """The kernels where they fit: on a GPU, in fp16, for sizes that divide into their tiles."""
        if self.words.weight.is_cuda and self.words.weight.dtype == torch.float16 and self._fits:
            from handlers.lean import kernels

            return kernels
        return operators


def lean_bert(task: str, wrapper: nn.Module) -> tuple[LeanBert, dict[str, int]]:
    """A LeanBert with the weights of an architectures wrapper, and the spec that builds it again."""
    config, encoder = wrapper.encoder.config, wrapper.encoder
    spec = {
        "width": config.hidden_size, "heads": config.num_attention_heads, "inner": config.intermediate_size,
        "layers": config.num_hidden_layers, "vocabulary": config.vocab_size,
        "positions": config.max_position_embeddings,
    }  # fmt: skip
    lean = LeanBert(task, spec)
    embeddings = encoder.embeddings
    state = {
        "words.weight": embeddings.word_embeddings.weight,
        "positions.weight": embeddings.position_embeddings.weight + embeddings.token_type_embeddings.weight[0],
        **_pair("norm", embeddings.LayerNorm),
    }
    for index, layer in enumerate(encoder.encoder.layer):
        state |= {f"layers.{index}.{name}": tensor for name, tensor in _layer_state(layer).items()}
    if task == "fill-mask":
        head = wrapper.head.predictions
        state |= _pair("transform", head.transform.dense) | _pair("head_norm", head.transform.LayerNorm)
        state |= {"decoder.weight": head.decoder.weight, "decoder.bias": head.decoder.bias}
    lean.load_state_dict({name: tensor.detach().clone() for name, tensor in state.items()})
    return lean.eval(), spec


def _pair(name: str, module: Any) -> dict[str, Tensor]:
    return {f"{name}.weight": module.weight, f"{name}.bias": module.bias}


def _layer_state(layer: Any) -> dict[str, Tensor]:
    own = layer.attention.self
    parts = (own.query, own.key, own.value)
    return {
        "qkv.weight": torch.cat([part.weight for part in parts]),
        "qkv.bias": torch.cat([part.bias for part in parts]),
        **_pair("out", layer.attention.output.dense),
        **_pair("attention_norm", layer.attention.output.LayerNorm),
        **_pair("up", layer.intermediate.dense),
        **_pair("down", layer.output.dense),
        **_pair("norm", layer.output.LayerNorm),
    }
