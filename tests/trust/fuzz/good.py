"""Good requests, and whether an answer is the right one.

A digit's label is known. A sentence's embedding is the server's answer to it alone, before anything hostile was sent.
tests/export checks whether that embedding itself is right.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from export.catalog import model
from loadtest.load.payloads import payloads, sentences
from tests.trust.fuzz.case import Case

MULTIPART, URLENCODED = "multipart/form-data; boundary=b", "application/x-www-form-urlencoded"
MAX_DIFFERENCE = 1e-4  # the largest effect of other requests in a batch; another sentence differs by some tenths
TEXTS = sentences()[:12]
DIGITS = {payload.name: payload.body for payload in payloads(model("digits"))}


class Golden:
    """The right answers by name: a digit's label, an embedding."""

    def __init__(self, ask: Callable[[bytes], bytes]) -> None:
        """``ask`` posts a text to the server under test and returns its answer's body."""
        self._embeddings = {text: json.loads(ask(text.encode()))["embedding"] for text in TEXTS}

    def is_right(self, name: str, answer: Any) -> bool:
        """Whether ``answer`` (parsed) is right for the good request ``name``, in every form of request."""
        first = _first(answer)
        if name in DIGITS:
            return first[0]["label"] == name
        return same(first, self._embeddings[name])


def _first(answer: dict[str, Any]) -> Any:
    """The first item's answer in a single answer, a list, KServe's form or tensors."""
    (value,) = plain(answer).values()
    nested = value[0] if isinstance(value[0], list) else value
    return nested


def plain(answer: Any) -> Any:
    """An answer in tensors in the form of a JSON answer; any other unchanged. Raises ValueError, KeyError or TypeError
    for invalid tensors."""
    if not isinstance(answer, dict) or "outputs" not in answer:
        return answer
    found = {each["name"]: np.reshape(each["data"], each["shape"]) for each in answer["outputs"]}
    if "embedding" in found:
        return {"embeddings": found["embedding"].tolist()}
    if "logits" in found:  # the five best classes, as a client ranks them itself
        scores = np.exp(found["logits"]) / np.exp(found["logits"]).sum(axis=1, keepdims=True)
        labels = np.argsort(-scores, axis=1)[:, :5]
        found = {"label": labels.astype(str), "score": np.take_along_axis(scores, labels, axis=1)}
    rows = zip(found["label"].tolist(), found["score"].tolist(), strict=True)
    return {"predictions": [[{"label": a, "score": b} for a, b in zip(*row, strict=True)] for row in rows]}


def same(one: Any, other: Any) -> bool:
    """Whether two answers to one item agree: embeddings within ``MAX_DIFFERENCE``, predictions in the best class."""
    if isinstance(one[0], dict):
        return one[0]["label"] == other[0]["label"] and abs(one[0]["score"] - other[0]["score"]) < 0.01
    return len(one) == len(other) and max(abs(a - b) for a, b in zip(one, other, strict=True)) < MAX_DIFFERENCE


def well_formed(answer: Any) -> bool:
    """Whether an answer of 2xx has a valid form: unit-length embeddings, or five ranked classes, for each item."""
    try:
        answer = plain(answer)
    except (ValueError, KeyError, TypeError):
        return False
    if not isinstance(answer, dict) or len(answer) != 1:
        return False
    ((key, value),) = answer.items()
    if key not in ("embedding", "embeddings", "predictions") or not isinstance(value, list) or not value:
        return False
    items = value if isinstance(value[0], list) else [value]
    return all(_is_embedding(item) or _is_ranking(item) for item in items)


def _is_embedding(item: list[Any]) -> bool:
    numbers = len(item) == 384 and all(isinstance(number, float) for number in item)
    return numbers and abs(math.sqrt(sum(number * number for number in item)) - 1) < 1e-3


def _is_ranking(item: list[Any]) -> bool:
    if len(item) != 5 or not all(isinstance(each, dict) and each.keys() == {"label", "score"} for each in item):
        return False
    scores = [each["score"] for each in item]
    return scores == sorted(scores, reverse=True) and all(0 <= score <= 1.0001 for score in scores)


def _in_form(name: str, content: bytes, how: str, file: str, field: str = "data") -> Case:
    head = f'--b\r\nContent-Disposition: form-data; name="{field}"{file}\r\n\r\n'
    body = head.encode() + content + b"\r\n--b--\r\n"
    return Case(how, body=body, content_type=MULTIPART, golden=name)


def _text_cases(text: str) -> list[Case]:
    as_json = ({"text": text}, {"text": [text, "company"]}, {"instances": [text]}, {"instances": [{"text": text}, "x"]},
               {"text": [text, "1+1=2 & %41"]})  # fmt: skip
    plain = Case("good", body=text.encode(), content_type="text/plain", golden=text)
    documents = [Case("good", body=json.dumps(d).encode(), content_type="application/json",
    golden=text) for d in as_json]
    return [plain, *documents, *(_in_form(text, text.encode(), "good", "", field) for field in ("data", "text"))]


def _digit_cases(name: str, image: bytes) -> list[Case]:
    encoded = base64.b64encode(image).decode()
    as_json = {"image": encoded}, {"image": [encoded] * 2}, {"instances": [{"b64": encoded}]}
    plain = Case("good", body=image, content_type="image/png", golden=name)
    documents = [Case("good", body=json.dumps(d).encode(), content_type="application/json",
    golden=name) for d in as_json]
    return [plain, *documents, _in_form(name, image, "good", '; filename="a.png"\r\nContent-Type: image/png')]


def _sent_otherwise(case: Case) -> list[Case]:
    """The case; the same as curl -d sends it, labelled as a form; and the same with gzip."""
    packed = replace(case, body=gzip.compress(case.body, mtime=0), encoding="gzip")
    is_form = case.content_type == MULTIPART
    return [case, packed] if is_form else [case, packed, replace(case, content_type=URLENCODED)]


def cases(text_paths: st.SearchStrategy[str], image_paths: st.SearchStrategy[str]) -> st.SearchStrategy[Case]:
    """Good requests for both kinds of archive in all their forms."""
    texts = [sent for text in TEXTS for case in _text_cases(text) for sent in _sent_otherwise(case)]
    images = [case for name, image in DIGITS.items() for case in _digit_cases(name, image)]
    digits = [sent for case in images for sent in _sent_otherwise(case)]

    def of(found: list[Case], index: int, path: str) -> Case:
        case = found[index % len(found)]
        return replace(case, target=path)

    # By index, since Hypothesis prints the elements that it draws from.
    index = st.integers(0, 999)
    return st.one_of(
        st.builds(lambda i, path: of(texts, i, path), index, text_paths),
        st.builds(lambda i, path: of(digits, i, path), index, image_paths),
    )
