"""The archive's rankings equal those of sentence_transformers.CrossEncoder.rank for the same folder."""

import json

import numpy as np
import pytest
from torch import nn

from export.catalog import Tolerance
from export.parity import compare
from export.tasks import TASKS, Request, json_request
from tests import checkpoints

TASK = TASKS["rerank"]
QUERY = "Who won the race?"
TEXTS = ["She won the race.", "Bake the bread.", "Ça coûte 12 € — déjà vu", "word " * 100, "x", "She won the race."]


def expected(folder, query, texts):
    """CrossEncoder's ranking, fp32, as [(index, score)]."""
    import torch
    from sentence_transformers import CrossEncoder

    encoder = CrossEncoder(str(folder), device="cpu", local_files_only=True, model_kwargs={"dtype": torch.float32})
    return [(each["corpus_id"], each["score"]) for each in encoder.rank(query, texts)]


def assert_equal(ours, theirs):
    # CrossEncoder pads batches differently, so scores of equal texts may differ by rounding.
    by_index = {each["index"]: each["score"] for each in ours}
    assert by_index == pytest.approx(dict(theirs), rel=1e-4, abs=1e-6)
    scores = [each["score"] for each in ours]
    assert scores == sorted(scores, reverse=True)


def test_every_form_of_request_is_ranked_as_the_cross_encoder_does(ask, tmp_path):
    folder = checkpoints.write_cross_encoder(tmp_path / "checkpoint", "bert")
    alone = json_request({"query": QUERY, "texts": TEXTS})
    several = json_request({"instances": [{"query": QUERY, "texts": TEXTS[:2]}, {"query": "bread", "texts": TEXTS}]})
    refused = {
        b"who?": (415, "takes no raw body"),
        b'{"query": "a", "texts": []}': (400, '"texts" is an empty list; expected a list of at least one string.'),
        b'{"query": "a", "texts": "b"}': (400, '"texts" is a string; expected a list of at least one string.'),
        b'{"query": 1, "texts": ["b"]}': (400, "The query is a number; expected a string."),
        b'{"query": "a", "texts": ["b", null]}': (400, "Text 1 is null; expected a string."),
        b'{"query": "a"}': (400, 'has no "query" and "texts"'),
        b'{"instances": ["a"]}': (400, 'The item is a string; expected an object with "query" and "texts".'),
        b'{"instances": [{"query": "a", "texts": ["b"]}, {"query": "a"}]}': (400, "Item 1 is an object that lacks one"),
        json.dumps({"query": "a", "texts": ["b"] * 65}).encode(): (413, "65 texts to rank; at most 64 are accepted"),
        json.dumps({"instances": [{"query": "a", "texts": ["b"] * 33}] * 2}).encode(): (413, "66 texts to rank"),
        json.dumps({"query": "a", "texts": ["b" * 100_001]}).encode(): (413, "Text 0 has 100001 characters"),
        json.dumps({"query": "a" * 99_999, "texts": ["b"] * 11}).encode(): (413, "have 1100000 characters together"),
    }
    bad = [Request(body, "text/plain" if body == b"who?" else "application/json") for body in refused]
    replies = ask("rerank", folder, [alone, *bad, several, TASK.traffic("It was the best of times.")])
    assert_equal(replies[0]["body"], expected(folder, QUERY, TEXTS))
    assert replies[0]["headers"]["x-truncated"] == "1" and replies[0]["headers"]["x-batch-size"] == "3"
    for reply, (status, says) in zip(replies[1:-2], refused.values(), strict=True):
        assert reply["status"] == status and says in reply["body"]["message"]
    first, second = replies[-2]["body"]["predictions"]
    assert_equal(first, expected(folder, QUERY, TEXTS[:2]))
    assert_equal(second, expected(folder, "bread", TEXTS))
    answer = replies[-1]["body"]
    assert TASK.headline(answer) == str(answer[0]["index"])
    assert TASK.same(answer, answer) and not TASK.same([{"index": 3, "score": 9.0}], [{"index": 0, "score": 9.0}])
    assert not TASK.same([{"index": 1, "score": 0.2}], [{"index": 0, "score": 0.9}, {"index": 1, "score": 0.2}])


@pytest.mark.parametrize("family", ["xlm-roberta", "electra"])
def test_scores_are_logits_if_the_checkpoint_says_so(ask, tmp_path, family):
    folder = checkpoints.write_cross_encoder(tmp_path / "checkpoint", family, nn.Identity())
    (reply,) = ask("rerank", folder, [json_request({"query": QUERY, "texts": TEXTS})])
    theirs = expected(folder, QUERY, TEXTS)
    assert_equal(reply["body"], theirs)
    assert any(not 0 <= score <= 1 for _, score in theirs)


def test_the_activation_of_a_checkpoint_from_before_sentence_transformers_4_is_read(tmp_path):
    from export.text_folder import read_text_folder

    folder = checkpoints.write_checkpoint(tmp_path / "checkpoint", "bert", "classification", num_labels=1)
    config = json.loads((folder / "config.json").read_text())
    config["sbert_ce_default_activation_function"] = "torch.nn.modules.linear.Identity"
    (folder / "config.json").write_text(json.dumps(config))
    found = read_text_folder(folder, {})
    assert (found.task, found.head["scores"]) == ("rerank", "none")
    from sentence_transformers import CrossEncoder

    assert isinstance(CrossEncoder(str(folder), device="cpu").activation_fn, nn.Identity)


def test_parity_joins_single_values_and_does_not_compare_their_best_class():
    """Rounding may swap the two best values of all cases, which belong to different requests."""
    reference = [{"logits": np.array([[2.0], [-1.0]])}, {"logits": np.array([[1.999]])}]
    rounded = [{"logits": np.array([[1.998], [-1.0]])}, {"logits": np.array([[2.0]])}]
    strict = Tolerance(cosine=0.999, top1=1.0)
    parity = compare(rounded, reference, strict, classes=True)
    assert parity.passed and parity.top1 is None and parity.cosine > 0.999
    assert not compare([{"logits": -each["logits"]} for each in reference], reference, strict, classes=True).passed


def test_int8_ranks_as_fp32_does(ask, tmp_path):
    folder = checkpoints.write_cross_encoder(tmp_path / "checkpoint", "bert")
    request = TASK.traffic("The team scored a goal in the last minute.")
    exact, rounded = (ask("rerank", folder, [request], variant)[0]["body"] for variant in ("torchscript", "int8"))
    assert TASK.same(exact, rounded)
