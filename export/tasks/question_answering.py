"""Question answering. The reference is the scores of transformers' network for the tokens of each window."""

from __future__ import annotations

import json
from typing import Any

from export import cases
from export.checkpoint import Checkpoint
from export.tasks.task import Outputs, Request, Task, json_request
from export.tasks.texts import library_network

QUESTION = "What is said?"
OVERLAP = 128  # tokens that two windows share, but at most half of the tokens that the question leaves
ASKED = (
    ("Who wrote the first program?", "Ada Lovelace wrote the first program in London, in 1843."),
    ("Wo wohnt María?", "María José wohnt seit 2019 in São Paulo — vorher wohnte sie in Zürich."),
)
ROOMS = 160  # sentences that together have more than 512 tokens


def _ask(question: str, context: str) -> Request:
    return json_request({"question": question, "context": context})


def _cases(checkpoint: Checkpoint) -> list[Request]:
    short = [each for each in cases.SENTENCES if len(each) < 300]
    asked = [*ASKED, ("Which room has a piano?", _rooms(checkpoint.text_input.max_length))]
    return [_ask(*each) for each in asked] + [_ask(QUESTION, each) for each in short]


def _rooms(length: int) -> str:
    """A context longer than a window of ``length`` tokens, up to 512; no two of its windows are alike."""
    count = min(ROOMS, length * ROOMS // 512)
    return " ".join(f"Room {number} has {number * 7 % 31} chairs." for number in range(1, count))


def _reference(checkpoint: Checkpoint, requests: list[Request]) -> list[Outputs]:
    """The logits of each case, concatenated over its windows, float [tokens of all windows] each."""
    import numpy as np
    import torch

    tokenizer, network = library_network(checkpoint, "AutoModelForQuestionAnswering")
    found = []
    for request in requests:
        asked = json.loads(request.body)
        outputs = []
        for window in _windows(tokenizer, asked["question"], asked["context"], checkpoint.text_input.max_length):
            with torch.inference_mode():
                outputs.append(network(**{name: torch.tensor([ids]) for name, ids in window.items()}))
        found.append({
            name: np.concatenate([getattr(each, name)[0].numpy() for each in outputs])
            for name in ("start_logits", "end_logits")
        })  # fmt: skip
    return found


def _windows(tokenizer: Any, question: str, context: str, length: int) -> list[dict[str, list[int]]]:
    """The network's inputs for each window, as transformers splits a long context."""
    taken = len(tokenizer(question, add_special_tokens=False)["input_ids"]) + tokenizer.num_special_tokens_to_add(True)
    encoded = tokenizer(
        question, context, truncation="only_second", max_length=length, stride=min(OVERLAP, (length - taken) // 2),
        return_overflowing_tokens=True,
    )  # fmt: skip
    names = [name for name in tokenizer.model_input_names if name in encoded]
    return [{name: encoded[name][at] for name in names} for at in range(len(encoded["input_ids"]))]


def _same(golden: Any, answer: Any) -> bool:
    """Lower precision may move the ends of an answer, but the two answers must overlap."""
    if not golden["answer"]:
        return not answer["answer"]
    return bool(golden["start"] < answer["end"] and answer["start"] < golden["end"])


TASK = Task(
    name="question-answering",
    kind="text",
    head="span",
    example=lambda checkpoint: {
        "content_type": "application/json",
        "text": json.dumps({"question": "Where was Ada Lovelace born?", "context": "Ada Lovelace was born in London."}),
    },
    cases=_cases,
    reference=_reference,
    same=_same,
    traffic=lambda sentence: _ask(QUESTION, sentence),
    headline=lambda answer: answer["answer"],
    pairs=True,
    parameters={"top_k": 1, "max_answer_tokens": 30},
    item="a question and its context, (str, str)",
    answer='{"answer", "score", "start", "end"}; with top_k, a list of them',
)
