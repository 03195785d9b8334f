"""Reranking texts by a query. The reference is sentence-transformers' CrossEncoder."""

from __future__ import annotations

import json
from typing import Any

from export import cases
from export.checkpoint import Checkpoint
from export.tasks.task import Outputs, Request, Task, json_request
from export.tasks.texts import near_best, value_of

CAPITAL = {
    "query": "What is the capital of France?",
    "texts": ["Bananas are rich in potassium.", "Paris is the capital of France.", "France has many rivers."],
}


def _cases(checkpoint: Checkpoint) -> list[Request]:
    queries = [{"query": query, "texts": list(cases.SENTENCES)} for query, _ in cases.PAIRS[:2]]
    return [json_request(each) for each in (CAPITAL, *queries)]


def _reference(checkpoint: Checkpoint, requests: list[Request]) -> list[Outputs]:
    """The logits of each case, float [texts, 1]."""
    import torch

    encoder = cross_encoder(checkpoint)
    found = []
    for value in map(value_of, requests):
        pairs = [(value["query"], text) for text in value["texts"]]
        logits = encoder.predict(pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False)
        found.append({"logits": logits.reshape(-1, 1)})
    return found


def cross_encoder(checkpoint: Checkpoint) -> Any:
    """The checkpoint's source in sentence-transformers, fp32."""
    import torch
    from sentence_transformers import CrossEncoder

    arguments = {"dtype": torch.float32}
    encoder = CrossEncoder(str(checkpoint.source), device="cpu", local_files_only=True, model_kwargs=arguments)
    encoder.max_seq_length = checkpoint.text_input.max_length
    return encoder


def _traffic(sentence: str) -> Request:
    """The sentence's first half as the query; the sentence, its second half and two others as the texts."""
    words = sentence.split()
    middle = (len(words) + 1) // 2
    texts = [*CAPITAL["texts"][:2], sentence, " ".join(words[middle:]) or sentence]
    return json_request({"query": " ".join(words[:middle]), "texts": texts})


def _same(golden: Any, answer: Any) -> bool:
    """Lower precision may swap texts of nearly equal score, so the best one must have nearly the best score."""
    return near_best({each["index"]: each["score"] for each in answer}, golden[0]["index"])


TASK = Task(
    name="rerank",
    kind="text",
    head="classification",
    example=lambda checkpoint: {"content_type": "application/json", "text": json.dumps(CAPITAL)},
    cases=_cases,
    reference=_reference,
    same=_same,
    traffic=_traffic,
    headline=lambda answer: str(answer[0]["index"]),
    pairs=True,
    item="a query and its texts, (str, (str, ...))",
    answer='a list of {"index", "score"}, best first',
)
