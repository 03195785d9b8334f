"""Image classification. The reference is the network and transform of torchvision, timm or transformers."""

from __future__ import annotations

from typing import Any

from export import cases
from export.checkpoint import Checkpoint
from export.tasks.images import library_outputs, photograph_cases
from export.tasks.task import Outputs, Request, Task


def _reference(checkpoint: Checkpoint, requests: list[Request]) -> list[Outputs]:
    return [{"logits": row} for row in library_outputs(checkpoint, [each.body for each in requests])]


def _same(golden: Any, answer: Any) -> bool:
    """Lower precision may swap labels of nearly equal score, but the best one must be in the answer."""
    return golden["predictions"][0]["label"] in [each["label"] for each in answer["predictions"]]


TASK = Task(
    name="image-classification",
    kind="image",
    head="image",
    example=lambda checkpoint: {"content_type": "image/jpeg", "file": cases.PHOTOGRAPH},
    cases=photograph_cases,
    reference=_reference,
    same=_same,
    headline=lambda answer: answer["predictions"][0]["label"],
    parameters={"top_k": 5},
    item="the image's pixels as the model takes them, uint8 [height, width, 3]",
    answer='a list of {"label", "score"}, best first',
)
