"""What references of text tasks share: the library's own tokenizer and network, one case at a time.

Shares no code with the handlers, so that an error there shows as a difference.
"""

from __future__ import annotations

import math
from typing import Any

from export.checkpoint import Checkpoint

MIN_COSINE = 0.99  # batching and lower precision move an embedding by far less, another sentence by far more


def library_network(checkpoint: Checkpoint, auto_class: str) -> tuple[Any, Any]:
    """(tokenizer, network) of the checkpoint's source, as users of transformers load them."""
    import transformers

    source = str(checkpoint.source)
    arguments = {"local_files_only": True}
    tokenizer = transformers.AutoTokenizer.from_pretrained(source, **arguments)
    network = getattr(transformers, auto_class).from_pretrained(source, **arguments).eval()
    return tokenizer, network


def same_vector(golden: Any, answer: Any) -> bool:
    """Whether two {"embedding": [...]} answers point the same way."""
    ours, theirs = golden["embedding"], answer["embedding"]
    if len(ours) != len(theirs):
        return False
    dot = sum(x * y for x, y in zip(ours, theirs, strict=True))
    return dot >= MIN_COSINE * math.sqrt(sum(x * x for x in ours) * sum(y * y for y in theirs)) > 0
