"""Decides whether a variant can be built of a model, from the model's row, its config.json and the GPU, before a build.

Imports torch only for lean variants.
"""

from __future__ import annotations

from typing import Any

from export.catalog import Model, Variant


def reason_against(model: Model, variant: Variant) -> str:
    """The reason why ``variant`` cannot be built of ``model``, as a sentence. Empty if it can, and if only the build
    can tell, because the weights are still on the hub."""
    if model.kind not in variant.kinds:
        return f"{variant.name} is for {' and '.join(variant.kinds)} models"
    if "lean" not in variant.steps:
        return ""
    from handlers.lean import unsupported

    described = _described(model)
    return (described and unsupported(*described)) or _reason_against_gpu(variant)


def _reason_against_gpu(variant: Variant) -> str:
    """Why the GPU of this machine cannot run ``variant``; empty without a GPU, for which no such variant is built."""
    if "fp8_products" not in variant.steps:
        return ""
    from export.device import gpu_capability
    from handlers.lean.fp8 import CAPABILITY, without_fp8

    found = gpu_capability()
    return without_fp8(found) if found and found < CAPABILITY else ""


def _described(model: Model) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The arguments (config, head) of handlers.lean.unsupported; None if they are not known yet."""
    from export.checkpoints import config_of
    from export.tasks import TASKS

    config = config_of(model)
    if model.kind == "text":
        head = {"kind": TASKS[model.task].head, "pooling": model.options.get("pooling", "mean")}
        return (config, head) if config else None
    if config.get("architectures"):
        return config, {"kind": "image", "library": "transformers", "architecture": config["architectures"][0]}
    name = config.get("architecture") or model.options.get("architecture", "")
    if not name:
        return None
    from export.images.by_name import library_of

    library, plain = library_of(f"timm:{name}" if config else name)
    return config, {"kind": "image", "library": library, "architecture": plain}
