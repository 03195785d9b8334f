"""The lean networks, replayed from CUDA graphs, and images decoded where they are classified."""

from __future__ import annotations

from pathlib import Path

from export.steps.draft import Draft, step


@step
def lean(draft: Draft) -> None:
    """The same network with fewer and larger kernels (handlers/lean)."""
    from safetensors.torch import save_file

    from handlers.lean import lean_bert, lean_resnet

    image = len(draft.examples) == 1
    task = {1: "classification", 2: "embedding", 3: "fill-mask"}[len(draft.examples)]
    draft.module, spec = lean_resnet(draft.module) if image else lean_bert(task, draft.module)
    draft.settings["lean"] = spec

    def save(stage: Path) -> None:  # as the later steps leave it
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in draft.module.state_dict().items()}
        save_file(state, stage / "model.safetensors")

    draft.save = save


@step
def cuda_graph(draft: Draft) -> None:
    """Replayed from CUDA graphs, one per bucket of batch size and length."""
    draft.runtime = "graph"
    draft.settings["buckets"] = {"batches": [1, 2, 4, 8, 16, 32]}
    if not draft.is_image:
        limit = draft.checkpoint.text.max_length
        draft.settings["buckets"]["lengths"] = [length for length in (16, 32, 64, 128, 256) if length < limit] + [limit]


@step
def decode_on_gpu(draft: Draft) -> None:
    """JPEG photographs decoded and scaled on the GPU (handlers/gpu_photos.py); a digit's drawing stays on the host."""
    from handlers.image import gpu_decodable

    if gpu_decodable(draft.checkpoint.image.preparation):
        draft.settings["decode_on_gpu"] = True
