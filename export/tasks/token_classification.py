"""Token classification. The reference is the logits of transformers' network for each token."""

from __future__ import annotations

from typing import Any

from export import cases
from export.checkpoint import Checkpoint
from export.tasks.task import Outputs, Request, Task
from export.tasks.texts import library_network

NAMES = (
    "Angela Merkel flew from Berlin to Paris on Tuesday.",
    "The United Nations and Siemens opened an office in São Paulo for María José.",
)


def _reference(checkpoint: Checkpoint, requests: list[Request]) -> list[Outputs]:
    """The logits of each token of each case, float [tokens, classes]."""
    import torch

    tokenizer, network = library_network(checkpoint, "AutoModelForTokenClassification")
    found = []
    for request in requests:
        encoded = tokenizer(
            request.body.decode(), truncation=True, max_length=checkpoint.text_input.max_length, return_tensors="pt"
        )
        with torch.inference_mode():
            found.append({"logits": network(**encoded).logits[0].numpy()})
    return found


def _headline(answer: Any) -> str:
    """The first entity, as in "PER Ada Lovelace"; empty if there is none."""
    return next((f"{each['entity_group']} {each['word']}" for each in answer["predictions"]), "")


def _same(golden: Any, answer: Any) -> bool:
    """Lower precision may move the ends of an entity. An entity must overlap the one with the highest score and have
    its group."""
    if not golden["predictions"]:
        return not answer["predictions"]
    best = max(golden["predictions"], key=lambda entity: entity["score"])
    return any(
        each["entity_group"] == best["entity_group"] and each["start"] < best["end"] and best["start"] < each["end"]
        for each in answer["predictions"]
    )


TASK = Task(
    name="token-classification",
    kind="text",
    head="tokens",
    example=lambda checkpoint: {"content_type": "text/plain", "text": "Ada Lovelace was born in London."},
    cases=lambda checkpoint: [Request(text.encode()) for text in (*NAMES, *cases.SENTENCES)],
    reference=_reference,
    same=_same,
    traffic=lambda sentence: Request(sentence.encode()),
    headline=_headline,
    parameters={"aggregation_strategy": "simple"},
    item="a text, str",
    answer='a list of {"entity_group", "score", "word", "start", "end"}',
)
