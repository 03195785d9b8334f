"""The step for fp8: the encoder's matrix products in e4m3 (export/steps/fp8_calibration.py, handlers/lean/fp8.py)."""

from __future__ import annotations

from collections.abc import Sequence

from export.steps.draft import Draft, StepError, step


@step
def fp8_products(draft: Draft) -> None:
    """The lean encoder's products in fp8, except those whose error is too large. Comes after ``lean``."""
    from export.calibration import text_batches
    from export.steps.fp8_calibration import GOAL, POOLED_GOAL, calibrate
    from handlers.lean.fp8 import PRODUCTS

    lean = draft.module
    if lean.plain_reason:
        raise StepError(f"fp8 has no kernels for this model ({lean.plain_reason}); use graph or another variant")
    names = [each.name for each in draft.inputs]
    device = draft.examples[0].device
    batches = [dict(zip(names, (each.to(device) for each in batch), strict=True)) for batch in text_batches(draft)]
    goal = POOLED_GOAL if draft.checkpoint.head["kind"] == "pooled" else GOAL
    scales, kept, cosine = calibrate(lean, batches, goal)
    draft.settings["lean"]["fp8"] = lean.scales = scales
    count = len(lean.layers) * len(PRODUCTS)
    draft.notes.append(f"cosine {cosine:.4f} in calibration; {len(kept)} of {count} products stay fp16{_named(kept)}")


def _named(kept: Sequence[tuple[int, str]]) -> str:
    return ": " + ", ".join(f"layer {index}'s {product}" for index, product in kept) if kept else ""
