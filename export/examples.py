"""Example tensors of a model's inputs, for traces and exports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from handlers.settings import Settings, TensorSpec

BATCH, TOKENS = 2, 9  # above 1, since torch.export treats a dimension of 1 as fixed


def examples(settings: Settings) -> tuple[Any, ...]:
    """One batch of input tensors, seeded, in the order of ``settings.inputs``."""
    import torch

    generator = torch.Generator().manual_seed(0)
    return tuple(_example(spec, settings, generator) for spec in settings.inputs)


def _example(spec: TensorSpec, settings: Settings, generator: Any) -> Any:
    import torch

    shape = spec.shape(BATCH, TOKENS)
    if spec.name == "pixels":
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    if spec.name == "input_ids":
        return torch.randint(0, settings.text_input.vocabulary, shape, generator=generator)
    if spec.name == "attention_mask":
        mask = torch.ones(shape, dtype=torch.int64)
        mask[1, 6:] = 0
        return mask
    if spec.name == "token_type_ids":
        return (torch.arange(TOKENS) > 3).long().expand(shape).contiguous()
    return torch.tensor([1, 4])  # mask_position
