"""The eager model with its gradients, for /explanations (handlers/explanations)."""

from __future__ import annotations

from export.steps.draft import Draft, step
from handlers.explanations import RUNTIME


@step
def explain(draft: Draft) -> None:
    """Answers as eager does, and explains its answers with Captum."""
    draft.runtime = RUNTIME
