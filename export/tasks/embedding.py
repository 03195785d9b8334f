"""Sentence embeddings, as sentence-transformers computes them from the same folder."""

from __future__ import annotations

from export import cases
from export.checkpoint import Checkpoint
from export.tasks.task import Outputs, Request, Task, width_of
from export.tasks.texts import same_vector


def _reference(checkpoint: Checkpoint, requests: list[Request]) -> list[Outputs]:
    encoder = sentence_transformer(checkpoint)
    return [{"embedding": encoder.encode([each.body.decode()], show_progress_bar=False)} for each in requests]


def sentence_transformer(checkpoint: Checkpoint):
    """The checkpoint's source in sentence-transformers, pooled as the model's row says."""
    from sentence_transformers import SentenceTransformer, models

    network = models.Transformer(str(checkpoint.source), max_seq_length=checkpoint.text.max_length)
    pooling = models.Pooling(width_of(checkpoint.config), pooling_mode=checkpoint.head["pooling"])
    modules = [network, pooling, *([models.Normalize()] if checkpoint.head["normalize"] else [])]
    return SentenceTransformer(modules=modules, device="cpu")


TASK = Task(
    name="embedding",
    kind="text",
    head="pooled",
    example=lambda checkpoint: {"content_type": "text/plain", "text": "TorchServe answers in JSON."},
    cases=lambda checkpoint: [Request(text.encode()) for text in cases.SENTENCES],
    reference=_reference,
    same=same_vector,
    traffic=lambda sentence: Request(sentence.encode()),
    classes=False,
    neighbours=True,
)
