"""The step for explanations (handlers/explanations)."""

from __future__ import annotations

from export.steps.draft import Draft, step
from handlers.explanations import RUNTIME


@step
def explain(draft: Draft) -> None:
    """Keeps the eager model, and chooses the runtime that also explains its answers with Captum."""
    draft.runtime = RUNTIME
