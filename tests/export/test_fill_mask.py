"""The archive's fill-mask answers equal those of transformers' pipeline, for one mask and several, in all families."""

import pytest

from export.tasks import TASKS, Request, json_request
from tests import checkpoints

TASK = TASKS["fill-mask"]
SENTENCES = [
    "It will {} all day.",
    "{} and {}.",
    "{}",
    "The {} is clear, déjà vu and the {} shines {}{} 12 €",
]


def assert_equal(ours, theirs):
    for mine, other in zip(ours, theirs, strict=True):
        if isinstance(mine, list):
            assert_equal(mine, other)
        else:
            assert (mine["token"], mine["sequence"]) == (other["token_str"], other["sequence"])
            assert mine["score"] == pytest.approx(other["score"], rel=1e-3)


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_every_family_fills_masks_as_transformers_does(ask, tmp_path, family):
    import torch
    from transformers import pipeline

    folder = checkpoints.write_checkpoint(tmp_path / "checkpoint", family, "fill-mask")
    mask = checkpoints.tokenizer_of(family).mask_token
    texts = [sentence.replace("{}", mask) for sentence in SENTENCES]
    requests = [
        *(Request(text.encode()) for text in texts[:3]),
        Request(b"no mask at all"),
        Request((f"{mask} " * 65).encode()),
        Request(("word " * 100 + mask).encode()),
        json_request({"text": [texts[3], texts[0]], "parameters": {"top_k": 2}}),
        json_request({"text": [f"{mask} " * 32] * 3}),
    ]
    replies = ask("fill-mask", folder, requests)
    fill = pipeline("fill-mask", model=str(folder), device="cpu", dtype=torch.float32)
    for text, reply in zip(texts[:3], replies, strict=False):
        assert_equal(reply["body"]["predictions"], fill(text, top_k=5))
    assert [reply["status"] for reply in replies[3:6]] == [400, 413, 400]
    assert "limit of 64 tokens" in replies[5]["body"]["message"] and mask in replies[3]["body"]["message"]
    assert_equal(replies[6]["body"]["predictions"][0], fill(texts[3], top_k=2))
    assert_equal(replies[6]["body"]["predictions"][1], fill(texts[0], top_k=2))
    assert replies[7]["body"]["message"] == "The request has 96 masks; at most 64 are accepted: split it."
