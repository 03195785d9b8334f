"""On a GPU host: the user's own checkpoints of published sizes as ``graph`` archives, with parity through the archive.

Weights are random; the networks, their sizes and their files are real. The question answerer is a small trained one,
since with random weights its best answer would be arbitrary.
"""

import json
import zipfile

import pytest

from export.archive import read_record
from export.device import gpu_count
from tests.conftest import run

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(gpu_count() == 0, reason="no CUDA device here")]

BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
DISTILLED = {"dim": 768, "n_layers": 6, "n_heads": 12, "hidden_dim": 3072, "activation": "gelu",
             "initializer_range": 0.04}  # fmt: skip
PUBLISHED = {"hidden_act": "gelu", "layer_norm_eps": 1e-12, "initializer_range": 0.04}
TEXTS = {
    "roberta-fill-mask": ("roberta", "fill-mask", {**BASE, **PUBLISHED, "max_position_embeddings": 514}, {}),
    "distilbert-classifier": ("distilbert", "classification", {**DISTILLED, "max_position_embeddings": 512}, {}),
    "bert-large-embedding": (
        "bert", "encoder", {**LARGE, **PUBLISHED, "max_position_embeddings": 512}, {"POOLING": "cls"},
    ),
    "bert-classifier": (
        "bert", "classification", {**BASE, **PUBLISHED, "max_position_embeddings": 512, "num_labels": 4}, {},
    ),
}  # fmt: skip
IMAGES = ("resnet18", "resnet34", "resnet101", "resnet152", "resnext50_32x4d")


def build(tmp_path, name, **given):
    """The parity of the ``graph`` archive that ``make archive MODEL=`` builds."""
    own = {"MODELS_FILE": str(tmp_path / "models.toml"), "MODEL_STORE": str(tmp_path / "store")}
    done = run("export", **own, **given, NAME=name, VARIANTS="graph", DEVICE="cuda")
    assert done.returncode == 0, done.stdout + done.stderr
    archive = tmp_path / "store" / f"{name}-graph.mar"
    with zipfile.ZipFile(archive) as source:
        assert "model.safetensors" in source.namelist()
    print(json.dumps({name: read_record(archive)["parity"]}))


@pytest.mark.parametrize("name", TEXTS)
def test_text_checkpoints_of_published_sizes(tmp_path, name):
    from tests.checkpoints import write_checkpoint

    family, head, sizes, given = TEXTS[name]
    folder = write_checkpoint(tmp_path / name, family, head, **sizes)
    build(tmp_path, name, MODEL=str(folder), **given)


def test_a_question_answerer(tmp_path):
    from tests.token_checkpoints import write_reader

    build(tmp_path, "bert-reader", MODEL=str(write_reader(tmp_path / "reader")))


@pytest.mark.parametrize("architecture", IMAGES)
def test_image_checkpoints_of_published_sizes(tmp_path, architecture):
    import torch
    from torchvision.models import get_model

    from tests.lean_models import with_measured_norms

    torch.manual_seed(0)
    network = with_measured_norms(get_model(architecture, weights=None, num_classes=20), side=128)
    for name, module in network.named_modules():  # as training leaves it: a block adds less than it is given
        if name.endswith("bn2" if architecture in ("resnet18", "resnet34") else "bn3"):
            torch.nn.init.constant_(module.weight, 0.3)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    (tmp_path / "labels.txt").write_text("\n".join(f"class {index}" for index in range(20)))
    build(
        tmp_path, architecture.replace("_", "-"), MODEL=str(tmp_path / "weights.pth"), ARCH=architecture,
        LABELS=str(tmp_path / "labels.txt"),
    )  # fmt: skip
