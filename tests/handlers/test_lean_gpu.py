"""On a GPU: graphs of the lean networks answer as the libraries' own models do in fp32."""

import numpy as np
import pytest
import torch

from handlers.lean import convert_image, convert_text
from handlers.scores import BEST, FEW, best
from handlers.settings import Settings, TensorSpec
from tests.lean_models import (
    AUTO,
    FAMILIES,
    HEADS,
    VOCABULARY,
    text_model,
    text_outputs,
    with_measured_norms,
)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]
TOLERANCE = 2e-2  # of the largest number of an output


def text_settings(kind, lean, spec, buckets, types=False):
    names = ["input_ids", "attention_mask"] + ["token_type_ids"] * types
    inputs = [TensorSpec(name, ("batch", "tokens"), "int64") for name in names]
    if kind == "mask":
        inputs.append(TensorSpec("mask_position", ("batch",), "int64"))
    outputs = {
        "pooled": [TensorSpec("embedding", ("batch", spec["width"]))],
        "mask": [TensorSpec("logits", ("batch", spec["vocabulary"]))],
        "classification": [TensorSpec("logits", ("batch", spec.get("classes", 0)))],
        "tokens": [TensorSpec("logits", ("batch", "tokens", spec.get("classes", 0)))],
        "span": [TensorSpec("start_logits", ("batch", "tokens")), TensorSpec("end_logits", ("batch", "tokens"))],
    }
    return settings("text", spec["head"], tuple(inputs), tuple(outputs[kind]), buckets)


def settings(task, head, inputs, outputs, buckets, **more):
    return Settings(
        model="model", variant="graph", task=task, device="gpu", runtime="graph", weights="random", inputs=inputs,
        outputs=outputs, head=head, buckets=buckets, **more,
    )  # fmt: skip


def graph(lean, record):
    from handlers.runtimes.cuda_graph import GraphRuntime

    half = lean.cuda().half().to(memory_format=torch.channels_last)
    return GraphRuntime(half, torch.device("cuda"), record)


def text_batch(generator, count, length, types, vocabulary=VOCABULARY):
    ids = generator.integers(10, vocabulary, (count, length))
    mask = np.ones_like(ids)
    mask[-1, max(1, length // 2) :] = 0
    batch = {"input_ids": ids, "attention_mask": mask}
    if types:
        batch["token_type_ids"] = (np.arange(length) > length // 3).astype(np.int64) * np.ones_like(ids)
    return batch


def answers_as_the_library(runtime, model, kind, batch, position):
    tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
    expected = text_outputs(model, kind, tensors, torch.from_numpy(position))
    found = runtime(*batch.values(), *([position] if kind == "mask" else []))
    kept = batch["attention_mask"] == 1
    for array, tensor in zip(found.values(), expected, strict=False):  # behind the outputs are the ranked ones
        wanted = tensor.numpy()
        assert array.shape == wanted.shape and array.dtype == np.float32
        if wanted.shape[:2] == kept.shape:
            array, wanted = array[kept], wanted[kept]
        assert np.abs(array - wanted).max() < TOLERANCE * np.abs(wanted).max()


def gelu(family):
    return {"activation" if family == "distilbert" else "hidden_act": "gelu"}


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_graphs_answer_every_batch_and_length_as_the_library_does(family, kind):
    """Uses pairs if the model has token types. Batches have the size of a bucket, lie between two, or exceed all."""
    model = text_model(family, kind, **gelu(family))
    types = getattr(model.config, "type_vocab_size", 1) > 1
    lean, spec = convert_text(model, HEADS[kind])
    assert lean.plain_reason is None
    buckets = {"batches": [1, 2, 4], "lengths": [8, 16, 32]}
    runtime = graph(lean, text_settings(kind, lean, spec, buckets, types))
    generator = np.random.default_rng(0)
    for count in (1, 2, 3, 7):
        for length in (1, 8, 9, 32):
            position = generator.integers(0, max(1, length // 2), count)
            batch = text_batch(generator, count, length, types)
            answers_as_the_library(runtime, model, kind, batch, position)


@pytest.mark.parametrize("family, changes", [("distilbert", {}), ("bert", {"width": 48}), ("electra", {})])
@pytest.mark.parametrize("kind", ["mask", "span"])
def test_plain_operators_answer_for_sizes_that_the_kernels_do_not_support(family, changes, kind):
    model = text_model(family, kind, **changes)
    lean, spec = convert_text(model, HEADS[kind])
    assert lean.plain_reason
    runtime = graph(lean, text_settings(kind, lean, spec, {"batches": [2], "lengths": [16]}))
    batch = text_batch(np.random.default_rng(0), 2, 9, False)
    answers_as_the_library(runtime, model, kind, batch, np.array([1, 2]))


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_graphs_pool_as_the_plain_operators_do(pooling, normalize):
    lean, spec = convert_text(
        text_model("bert", "pooled"), {**HEADS["pooled"], "pooling": pooling, "normalize": normalize}
    )
    batch = text_batch(np.random.default_rng(0), 3, 9, False)
    with torch.inference_mode():
        wanted = lean(*map(torch.from_numpy, batch.values()))[0].numpy()
    runtime = graph(lean, text_settings("pooled", lean, spec, {"batches": [4], "lengths": [16]}))
    assert np.abs(runtime(*batch.values())["embedding"] - wanted).max() < TOLERANCE * np.abs(wanted).max()


@pytest.mark.parametrize("width", [64, 48])
def test_the_likeliest_classes_are_ranked(width):
    """In one replay, in several, and for a network with sizes that the kernels do not support."""
    lean, spec = convert_text(text_model("bert", "mask", width=width, vocab_size=1003), HEADS["mask"])
    runtime = graph(lean, text_settings("mask", lean, spec, {"batches": [1, 4], "lengths": [8]}))
    generator = np.random.default_rng(0)
    for count in (1, 3, 4, 9):
        ids = generator.integers(0, 1003, (count, 8))
        found = runtime(ids, np.ones_like(ids), np.ones(count, dtype=np.int64))
        classes, scores = (found[name] for name in BEST)
        for row, expected in enumerate(best(found["logits"], FEW)):
            # Compares the logits of the classes, since two fp16 logits may be equal.
            logits = found["logits"][row]
            assert logits[classes[row]].tolist() == [logits[index] for index, _ in expected]
            assert scores[row].tolist() == pytest.approx([score for _, score in expected], rel=1e-3)


@pytest.mark.parametrize(
    "family, kind, size",
    [
        ("bert", "pooled", {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
                            "intermediate_size": 4096}),
        ("bert", "mask", {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
                          "intermediate_size": 4096}),
        ("roberta", "mask", {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1,
                             "layer_norm_eps": 1e-5}),
        ("distilbert", "classification", {}),
        ("distilbert", "span", {}),
        ("bert", "classification", {}),
        ("bert", "tokens", {"num_labels": 9}),
        ("roberta", "span", {"type_vocab_size": 1}),
        ("electra", "classification", {}),
    ],
)  # fmt: skip
def test_published_sizes(family, kind, size):
    """bert-large, RoBERTa, DistilBERT, a sequence classifier and question answering, with random weights."""
    import transformers

    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(family, **size)
    model = getattr(transformers, AUTO[kind]).from_config(config).eval()
    lean, spec = convert_text(model, HEADS[kind])
    assert lean.plain_reason is None
    runtime = graph(lean, text_settings(kind, lean, spec, {"batches": [1, 4], "lengths": [32, 128, 256]}))
    generator = np.random.default_rng(0)
    for count, length in ((1, 128), (1, 20), (4, 32), (3, 200)):
        batch = text_batch(generator, count, length, False, config.vocab_size)
        answers_as_the_library(runtime, model, kind, batch, np.ones(count, dtype=np.int64))


IMAGES = [
    *(("torchvision", name) for name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152",
                                         "resnext50_32x4d", "wide_resnet50_2")),
    ("timm", "resnet50"), ("timm", "resnext50_32x4d"), ("transformers", "resnet"),
]  # fmt: skip


def image_model(library, name):
    torch.manual_seed(0)
    if library == "transformers":
        import transformers

        return transformers.ResNetForImageClassification(transformers.ResNetConfig(num_labels=1000))
    if library == "timm":
        return pytest.importorskip("timm").create_model(name)
    from torchvision.models import get_model

    return get_model(name, weights=None)


@pytest.mark.parametrize("features", [False, True])
@pytest.mark.parametrize("library, name", IMAGES)
def test_graphs_of_images_answer_as_the_library_does(library, name, features):
    if features and name != "resnet18":
        pytest.skip("the code for features is the same for all networks")
    network = with_measured_norms(image_model(library, name))
    head = {"kind": "image", "library": library, "architecture": name, "classes": 1000, "features": features}
    lean, spec = convert_image(network, (torch.full((3,), 1 / 64), torch.full((3,), -2.0)), head)
    if features:
        network.fc = torch.nn.Identity()
    width = spec["features"] if features else 1000
    record = settings(
        "image", head, (TensorSpec("pixels", ("batch", 224, 224, 3), "uint8"),),
        (TensorSpec("embedding" if features else "logits", ("batch", width)),), {"batches": [1, 4]},
        decode_on_gpu=True,
    )  # fmt: skip
    runtime = graph(lean, record)
    for count in (1, 3, 5):
        pixels = np.random.default_rng(count).integers(0, 256, (count, 224, 224, 3), dtype=np.uint8)
        with torch.inference_mode():
            wanted = network((torch.from_numpy(pixels).float() / 64 - 2).permute(0, 3, 1, 2))
        wanted = getattr(wanted, "logits", wanted).numpy()
        for given in (pixels, torch.from_numpy(pixels).cuda()):
            found, *ranked = runtime(given).values()
            assert len(ranked) == (0 if features else 2)
            if ranked:
                assert (ranked[0][:, 0] == found.argmax(1)).all()
            assert found.shape == wanted.shape
            assert np.abs(found - wanted).max() < 2 * TOLERANCE * np.abs(wanted).max()
