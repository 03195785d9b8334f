"""An image checkpoint that cannot be read gives one sentence that names what was given and how to fix it."""

import json

import pytest
import torch

from export.errors import CheckpointError
from export.images import by_name
from export.images.read import read_image_model
from export.images.write import write_checkpoint
from tests.export.image_checkpoints import MADE
from tests.export.test_pickles import Evil


def refused(match, *arguments):
    with pytest.raises(CheckpointError, match=match) as caught:
        read_image_model(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("resnet19", "did you mean resnet18"),
        ("keras:resnet50", "'keras'; expected torchvision: or timm:"),
        ("torchvision:efficientnet_lite0", "no classifier of torchvision"),
        ("inception_v3", "transform_input"),
        ("fasterrcnn_resnet50_fpn", "no classifier of torchvision or timm"),
    ],
)
def test_names(name, says):
    with pytest.raises(CheckpointError, match=says):
        by_name.library_of(name)


@pytest.fixture
def made(tmp_path):
    return MADE["torchvision file"](tmp_path)


def test_a_file_without_a_name(made):
    refused("name it: ARCH=resnet34", made.source, None, made.labels)


def test_a_file_of_another_architecture(made):
    refused("does not hold the weights of resnet34: it lacks layer1.2", made.source, "resnet34", made.labels)
    refused("lacks classifier.6.weight, the final layer of vgg11", made.source, "vgg11", made.labels)
    refused("weights of wide_resnet50_2: it lacks", made.source, "wide_resnet50_2", made.labels)


def test_no_labels_and_too_few_labels(made, tmp_path):
    refused("has 5 classes and no names for them; give LABELS=", made.source, "resnet18", None)
    assert read_image_model(made.source, "resnet18", labelled=False).labels == ()
    made.labels.write_text("one\ntwo\nthree\n")
    refused("names 3 labels .* has 5 classes", made.source, "resnet18", made.labels)
    refused("there is no such file", made.source, "resnet18", tmp_path / "absent")


@pytest.mark.parametrize(
    ("text", "says"),
    [("a\n\nb", "empty line 2"), ("[1, 2]", "values that are not strings"), ('{"0": "a", "2": "b"}', "without gaps"),
     ("[", "no valid JSON")],
)  # fmt: skip
def test_labels_of_another_form(made, text, says):
    made.labels.write_text(text)
    refused(says, made.source, "resnet18", made.labels)


def test_a_pickled_model_is_refused_and_not_run(made, tmp_path):
    torch.save(made.network, tmp_path / "model.pt")
    refused("only tensors are read", tmp_path / "model.pt", "resnet18", made.labels)
    torch.save({"fc.weight": Evil(tmp_path / "code ran")}, tmp_path / "evil.bin")
    refused("only tensors are read", tmp_path / "evil.bin", "resnet18", made.labels)
    assert not (tmp_path / "code ran").exists()


def test_other_files(made, tmp_path):
    refused("There is no checkpoint at", tmp_path / "absent.pt", "resnet18", None)
    for name, content in (("a.safetensors", b"junk"), ("b.pt", b"junk"), ("c.pt", b""), ("d.onnx", b"junk")):
        (tmp_path / name).write_bytes(content)
        refused("safetensors|state dict|only tensors|no weights file", tmp_path / name, "resnet18", made.labels)
    torch.save({"epoch": 3}, tmp_path / "e.pt")
    refused("holds no state dict", tmp_path / "e.pt", "resnet18", made.labels)


def edited(folder, name, **changes):
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_folders(tmp_path):
    refused("no readable config.json", tmp_path)
    (tmp_path / "config.json").write_text("{}")
    refused("names no architecture", tmp_path)
    (tmp_path / "config.json").write_text('{"architecture": "test_resnet", "num_classes": 5}')
    refused("has no weights", tmp_path)
    refused("leave out ARCH=", tmp_path, "resnet18")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"num_classes": 6}, "says 6 classes and the weights have 5"),
        ({"architecture": "no_such"}, "no classifier of timm"),
        ({"label_names": ["one"]}, "names 1 labels"),
        ({"model_args": {"no_such": 1}}, "cannot build test_vit"),
    ],
)
def test_a_timm_folder_that_contradicts_itself(tmp_path, changes, says):
    MADE["timm folder"](tmp_path)
    edited(tmp_path, "config.json", **changes)
    refused(says, tmp_path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"crop_mode": "border"}, "crop_mode 'border'"),
        ({"input_size": [3, 96, 64]}, "crop_mode 'center' to 96x64"),
        ({"input_size": [1, 96, 96]}, "takes 1 channels"),
    ],
)
def test_timm_preparations_that_are_not_supported(tmp_path, changes, says):
    MADE["timm folder"](tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["pretrained_cfg"] |= {"crop_mode": "center", **changes}
    config["model_args"] = {}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=says):
        by_name.timm_pixels(config["pretrained_cfg"], "test_vit")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"image_processor_type": "EfficientNetImageProcessor"}, "has the processor EfficientNetImageProcessor"),
        ({"size": {"shortest_edge": 64}}, "images differ in size"),
        ({"size": {"shortest_edge": 64, "longest_edge": 80}}, "longest_edge"),
        ({"do_resize": False}, "do_resize off"),
        ({"do_pad": True}, "do_pad set"),
    ],
)
def test_transformers_processors_that_are_not_supported(tmp_path, changes, says):
    MADE["transformers ViT"](tmp_path)
    edited(tmp_path, "preprocessor_config.json", **changes)
    refused(says, tmp_path)


def test_transformers_models_that_are_no_classifiers(tmp_path):
    MADE["transformers ViT"](tmp_path)
    edited(tmp_path, "config.json", problem_type="multi_label_classification")
    refused("only classifiers of one label", tmp_path)
    edited(tmp_path, "config.json", problem_type=None, architectures=["ViTModel"])
    refused("ViTModel, which is no image classifier", tmp_path)
    edited(tmp_path, "config.json", architectures=["ViTForImageClassification"])
    (tmp_path / "preprocessor_config.json").unlink()
    refused("no preprocessor_config.json", tmp_path)


def test_a_transformers_folder_without_its_head_is_not_given_a_random_one(tmp_path):
    from safetensors.torch import load_file, save_file

    MADE["transformers ViT"](tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    save_file(
        {k: v for k, v in state.items() if "classifier" not in k}, tmp_path / "model.safetensors", {"format": "pt"}
    )
    model = read_image_model(tmp_path)
    with pytest.raises(CheckpointError, match=r"lacks weights that .* needs: classifier"):
        write_checkpoint(model, tmp_path, tmp_path)


def test_a_processor_of_another_size_than_the_network(tmp_path):
    MADE["transformers ViT"](tmp_path)
    edited(tmp_path, "preprocessor_config.json", size={"height": 96, "width": 96})
    stage = tmp_path / "stage"
    stage.mkdir()
    with pytest.raises(CheckpointError, match="takes no images of 96x96"):
        write_checkpoint(read_image_model(tmp_path), tmp_path, stage)
