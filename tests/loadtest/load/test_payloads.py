"""Payloads: the documented mix, and which answers count as equal."""

import json

import numpy as np
import pytest
from PIL import Image

from export.catalog import MODELS, model
from loadtest.load.golden import Golden
from loadtest.load.payloads import payloads, sentences


@pytest.mark.parametrize("row", MODELS, ids=lambda row: row.name)
def test_every_model_of_the_catalog_has_payloads(row):
    found = payloads(row)
    assert len(found) >= 8 and len({each.name for each in found}) == len(found)
    assert {each.content_type for each in found} == {row.example["content_type"]}


def test_sentences_have_the_stated_mix():
    words = np.array([len(sentence.split()) for sentence in sentences()])
    assert len(words) == 48
    assert 15 <= words.mean() <= 22 and words.min() <= 4 and words.max() >= 45


def test_a_masked_sentence_has_one_mask():
    assert all(each.body.count(b"[MASK]") == 1 for each in payloads(model("bert")))


def test_photographs_come_in_several_sizes():
    import io

    bodies = [each.body for each in payloads(model("resnet50"))]
    sizes = {Image.open(io.BytesIO(body)).size for body in bodies}
    assert len(sizes) >= 5 and min(map(len, bodies)) < 30_000 and max(map(len, bodies)) > 80_000


def golden(task, payload, answer):
    return Golden.record(task, [payload], lambda each: json.dumps(answer).encode())


@pytest.mark.parametrize(
    ("task", "right", "near", "wrong"),
    [
        ("embedding", {"embedding": [0.6, 0.8]}, {"embedding": [0.601, 0.799]}, {"embedding": [0.8, -0.6]}),
        ("embedding", {"embedding": [0.6, 0.8]}, {"embedding": [0.6, 0.8]}, {"embedding": [0.6]}),
        ("image-classification", {"predictions": [{"label": "7"}, {"label": "1"}]},
         {"predictions": [{"label": "1"}, {"label": "7"}]}, {"predictions": [{"label": "2"}]}),
        ("fill-mask", {"predictions": [{"token": "a"}]}, {"predictions": [{"token": "a"}]}, {"predictions": []}),
        ("null", {"predictions": []}, {"predictions": []}, {"predictions": [1]}),
    ],
)  # fmt: skip
def test_answers_are_the_same_or_not(task, right, near, wrong):
    payload = payloads(model("null"))[0]
    judge = golden(task, payload, right)
    assert judge.matches(payload, json.dumps(near).encode())
    assert not judge.matches(payload, json.dumps(wrong).encode())
    assert not judge.matches(payload, b"not JSON") and not judge.matches(payload, b"[]")
