"""Sentence embeddings, as sentence-transformers computes them from the same folder."""

from __future__ import annotations

from typing import Any

from export import cases
from export.checkpoint import Checkpoint
from export.tasks.task import Outputs, Request, Task, width_of
from export.tasks.texts import same_vector


def _reference(checkpoint: Checkpoint, requests: list[Request]) -> list[Outputs]:
    encoder = sentence_transformer(checkpoint)
    return [{"embedding": encoder.encode([each.body.decode()], show_progress_bar=False)} for each in requests]


def sentence_transformer(checkpoint: Checkpoint) -> Any:
    """The checkpoint's source in sentence-transformers, fp32, with its own pooling or with that of the model's row."""
    import torch

    # Since sentence-transformers 6, ``models`` is an alias that is made at import.
    from sentence_transformers import SentenceTransformer, models  # type: ignore[attr-defined]

    source, head = str(checkpoint.source), checkpoint.head
    arguments = {"dtype": torch.float32}
    if checkpoint.facts["packaged"]:
        encoder = SentenceTransformer(source, device="cpu", local_files_only=True, model_kwargs=arguments)
        encoder.max_seq_length = checkpoint.text_input.max_length
        return encoder
    network = models.Transformer(source, max_seq_length=checkpoint.text_input.max_length, model_kwargs=arguments)
    pooling = models.Pooling(width_of(checkpoint.config), pooling_mode=head["pooling"])
    modules = [network, pooling, *([models.Normalize()] if head["normalize"] else [])]
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
    item="a text, str",
    answer="the text's vector, float32 [width]",
)
