"""Image embeddings: the input of a classifier's head. The reference is the library's own network."""

from __future__ import annotations

from export import cases
from export.checkpoint import Checkpoint
from export.tasks.images import library_outputs, photograph_cases
from export.tasks.task import Outputs, Request, Task
from export.tasks.texts import same_vector


def _reference(checkpoint: Checkpoint, requests: list[Request]) -> list[Outputs]:
    return [{"embedding": row} for row in library_outputs(checkpoint, [each.body for each in requests])]


TASK = Task(
    name="image-embedding",
    kind="image",
    head="image",
    example=lambda checkpoint: {"content_type": "image/jpeg", "file": cases.PHOTOGRAPH},
    cases=photograph_cases,
    reference=_reference,
    same=same_vector,
    classes=False,
    neighbours=True,
    item="the image's pixels as the model takes them, uint8 [height, width, 3]",
    answer="the image's vector, float32 [width]",
)
