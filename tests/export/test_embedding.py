"""The archive's embeddings equal those of sentence-transformers for the same folder, for every pooling."""

import numpy as np
import pytest

from export.tasks import Request, json_request
from tests import checkpoints

TEXTS = ["It will rain.", "Ça coûte 12 € — déjà vu", "x", "SHE Won The RACE", "word " * 100]
# Every pooling with and without unit length, spread over the families.
POOLED = [
    ("bert", "cls", True), ("roberta", "mean", True), ("xlm-roberta", "cls", False), ("camembert", "max", True),
    ("distilbert", "mean", False), ("mpnet", "mean", True), ("electra", "max", False),
]  # fmt: skip


def expected(folder):
    import torch
    from sentence_transformers import SentenceTransformer

    encoder = SentenceTransformer(
        str(folder), device="cpu", local_files_only=True, model_kwargs={"dtype": torch.float32}
    )
    return encoder.encode(TEXTS)


def cosines(a, b):
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.mark.parametrize(("family", "pooling", "normalize"), POOLED, ids=lambda value: str(value))
def test_every_family_embeds_as_sentence_transformers_does(ask, tmp_path, family, pooling, normalize):
    folder = checkpoints.write_embedder(tmp_path / "checkpoint", family, pooling, normalize)
    replies = ask("embedding", folder, [Request(text.encode()) for text in TEXTS] + [json_request({"text": TEXTS})])
    ours, theirs = np.array([reply["body"]["embedding"] for reply in replies[:-1]]), expected(folder)
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)
    assert cosines(ours, theirs).min() > 0.99999
    assert np.allclose(np.linalg.norm(ours, axis=1), 1) == normalize
    np.testing.assert_allclose(replies[-1]["body"]["embeddings"], theirs, rtol=1e-3, atol=1e-5)
    assert "x-truncated" in replies[-2]["headers"]  # at the 24 tokens that the folder packages, not at 64


def test_texts_are_lower_cased_if_the_folder_says_so(ask, tmp_path):
    folder = checkpoints.write_embedder(tmp_path / "checkpoint", "roberta", "mean", False, lower=True)
    replies = ask("embedding", folder, [Request(text.encode()) for text in TEXTS])
    np.testing.assert_allclose(
        [reply["body"]["embedding"] for reply in replies], expected(folder), rtol=1e-3, atol=1e-5
    )


def test_the_pooling_of_the_row_overrides_the_folders(ask, tmp_path):
    folder = checkpoints.write_embedder(tmp_path / "checkpoint", "bert", "mean", False)
    other = checkpoints.write_embedder(tmp_path / "other", "bert", "cls", False)  # of the same seed
    replies = ask("embedding", folder, [Request(text.encode()) for text in TEXTS], pooling="cls")
    ours = np.array([reply["body"]["embedding"] for reply in replies])
    np.testing.assert_allclose(ours, expected(other), rtol=1e-3, atol=1e-5)
    assert cosines(ours, expected(folder)).min() < 0.99


def test_a_checkpoint_in_half_precision_is_computed_in_single_precision(ask, tmp_path):
    import torch
    from sentence_transformers import SentenceTransformer

    folder = checkpoints.write_embedder(tmp_path / "checkpoint", "bert", "cls", True)
    half = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float16})
    half.save_pretrained(str(tmp_path / "half"))
    replies = ask("embedding", tmp_path / "half", [Request(text.encode()) for text in TEXTS])
    ours = np.array([reply["body"]["embedding"] for reply in replies])
    np.testing.assert_allclose(ours, expected(tmp_path / "half"), rtol=1e-4, atol=1e-6)
    assert np.abs(ours - expected(folder)).max() > 1e-5  # the halves are what was saved
