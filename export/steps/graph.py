"""Steps for the lean networks, for CUDA graphs and for the decoding of images on the GPU."""

from __future__ import annotations

from pathlib import Path

from export.steps.draft import Draft, StepError, step


@step
def lean(draft: Draft) -> None:
    """Converts the network to one with fewer and larger kernels (handlers/lean)."""
    from safetensors.torch import save_file

    from handlers.lean import LeanError, convert_image, convert_text

    head, module = draft.checkpoint.head, draft.module
    try:
        if draft.is_image:
            scaling = (module.scale.flatten(), module.shift.flatten())
            draft.module, spec = convert_image(module.network, scaling, head)
        else:
            draft.module, spec = convert_text(module.network, head)
    except LeanError as error:
        raise StepError(str(error)) from None
    draft.settings["lean"] = spec
    if draft.module.plain_reason:
        draft.notes.append(f"runs on PyTorch's own kernels: {draft.module.plain_reason}")

    def save(stage: Path) -> None:  # saves the module as later steps have changed it
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in draft.module.state_dict().items()}
        save_file(state, stage / "model.safetensors")

    draft.save = save


@step
def cuda_graph(draft: Draft) -> None:
    """Replays the model from CUDA graphs, one per bucket of batch size and length."""
    draft.runtime = "graph"
    draft.settings["buckets"] = {"batches": [1, 2, 4, 8, 16, 32]}
    if not draft.is_image:
        limit = draft.checkpoint.text_input.max_length
        draft.settings["buckets"]["lengths"] = [length for length in (16, 32, 64, 128, 256) if length < limit] + [limit]


@step
def decode_on_gpu(draft: Draft) -> None:
    """Decodes and scales JPEG photographs on the GPU (handlers/gpu_photos.py). The host still prepares digits."""
    from handlers.image import gpu_decodable

    if gpu_decodable(draft.checkpoint.image_input.preparation):
        draft.settings["decode_on_gpu"] = True
