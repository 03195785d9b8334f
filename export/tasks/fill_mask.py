"""Fill-mask. The reference is transformers' network with the checkpoint's own head."""

from __future__ import annotations

from typing import Any

from export import cases
from export.checkpoint import Checkpoint
from export.tasks.task import Outputs, Request, Task
from export.tasks.texts import library_network

MASK = "[MASK]"  # the mask in the sentences of this module; each checkpoint has its own spelling


def _cases(checkpoint: Checkpoint) -> list[Request]:
    return [Request(text.replace(MASK, checkpoint.text_input.mask_token).encode()) for text in cases.MASKED]


def _reference(checkpoint: Checkpoint, requests: list[Request]) -> list[Outputs]:
    """The logits at each mask of each case, float [masks, vocabulary]."""
    import torch

    tokenizer, network = library_network(checkpoint, "AutoModelForMaskedLM")
    found = []
    for request in requests:
        encoded = tokenizer(
            request.body.decode(), truncation=True, max_length=checkpoint.text_input.max_length, return_tensors="pt"
        )
        with torch.inference_mode():
            logits = network(**encoded).logits[0]
        found.append({"logits": logits[encoded["input_ids"][0] == tokenizer.mask_token_id].numpy()})
    return found


def _traffic(sentence: str) -> Request:
    """The sentence with BERT's mask token in place of its middle word."""
    words = sentence.split()
    words[len(words) // 2] = MASK
    return Request(" ".join(words).encode())


def _same(golden: Any, answer: Any) -> bool:
    """Lower precision may swap tokens of nearly equal score, but the best one must be in the answer."""
    return golden["predictions"][0]["token"] in [each["token"] for each in answer["predictions"]]


TASK = Task(
    name="fill-mask",
    kind="text",
    head="mask",
    example=lambda checkpoint: {
        "content_type": "text/plain",
        "text": f"Paris is the {checkpoint.text_input.mask_token} of France.",
    },
    cases=_cases,
    reference=_reference,
    same=_same,
    traffic=_traffic,
    headline=lambda answer: answer["predictions"][0]["token"],
    parameters={"top_k": 5},
    item="a text, str",
    answer='a list of {"token", "score", "sequence"}, best first; of several masks, a list for each',
)
