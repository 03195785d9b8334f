"""Text classification of single texts and pairs, with one label, several labels or a number as the answer. The
reference is transformers' network with the checkpoint's own head."""

from __future__ import annotations

from typing import Any

from export import cases
from export.checkpoint import Checkpoint
from export.tasks.task import Outputs, Request, Task, json_request
from export.tasks.texts import library_network, near_best, value_of

FIELDS = ("text", "text_pair")


def _cases(checkpoint: Checkpoint) -> list[Request]:
    alone = [Request(text.encode()) for text in cases.SENTENCES]
    return alone + [json_request(dict(zip(FIELDS, pair, strict=True))) for pair in cases.PAIRS]


def _reference(checkpoint: Checkpoint, requests: list[Request]) -> list[Outputs]:
    """The logits of each case, float [1, labels]."""
    import torch

    tokenizer, network = library_network(checkpoint, "AutoModelForSequenceClassification")
    found = []
    for request in requests:
        value = value_of(request)
        texts = [value] if isinstance(value, str) else [value[field] for field in FIELDS]
        encoded = tokenizer(*texts, truncation=True, max_length=checkpoint.text_input.max_length, return_tensors="pt")
        with torch.inference_mode():
            found.append({"logits": network(**encoded).logits.numpy()})
    return found


def _same(golden: Any, answer: Any) -> bool:
    """Lower precision may swap labels of nearly equal score, so the best one must have nearly the best score."""
    scores = {each["label"]: each["score"] for each in answer["predictions"]}
    return near_best(scores, golden["predictions"][0]["label"])


TASK = Task(
    name="text-classification",
    kind="text",
    head="classification",
    example=lambda checkpoint: {"content_type": "text/plain", "text": "The food was good and the staff were friendly."},
    cases=_cases,
    reference=_reference,
    same=_same,
    traffic=lambda sentence: Request(sentence.encode()),
    headline=lambda answer: answer["predictions"][0]["label"],
    pairs=True,
    item="a text, str, or two texts, (str, str)",
    answer='a list of {"label", "score"}, best first',
)
