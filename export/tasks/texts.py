"""Code that the references of text tasks share: the library's own tokenizer and network, one case at a time.

This code does not use the handlers, so that an error in the handlers shows as a difference.
"""

from __future__ import annotations

import json
import math
from typing import Any

from export.checkpoint import Checkpoint
from export.tasks.task import Request

NEAR = 0.05  # the largest change of a score by lower precision; relative to the best score if that is above 1
MIN_COSINE = 0.99  # batching and lower precision change the cosine by far less, another sentence by far more


def library_network(checkpoint: Checkpoint, auto_class: str) -> tuple[Any, Any]:
    """(tokenizer, network) of the checkpoint's source, as users of transformers load them, fp32."""
    import torch
    import transformers

    source = str(checkpoint.source)
    tokenizer = transformers.AutoTokenizer.from_pretrained(source, local_files_only=True)
    loader = getattr(transformers, auto_class)
    return tokenizer, loader.from_pretrained(source, local_files_only=True, dtype=torch.float32).eval()


def value_of(request: Request) -> Any:
    """The JSON value of a request, or its plain text."""
    return json.loads(request.body) if request.content_type == "application/json" else request.body.decode()


def near_best(scores: dict[Any, float], golden: Any) -> bool:
    """Whether the score of ``golden`` is the best, or so near to it that lower precision may swap the two."""
    if golden not in scores:
        return False
    best = max(scores.values())
    return best - scores[golden] <= NEAR * max(1.0, abs(best))


def same_vector(golden: Any, answer: Any) -> bool:
    """Whether the vectors of two answers {"embedding": [...]} have a cosine of at least MIN_COSINE."""
    ours, theirs = golden["embedding"], answer["embedding"]
    if len(ours) != len(theirs):
        return False
    dot = sum(x * y for x, y in zip(ours, theirs, strict=True))
    return bool(dot >= MIN_COSINE * math.sqrt(sum(x * x for x in ours) * sum(y * y for y in theirs)) > 0)
