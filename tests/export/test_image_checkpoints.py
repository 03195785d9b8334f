"""The network read from a user's image checkpoint gives the answers of its library with the library's transforms."""

import json

import pytest
import torch
from PIL import Image

from export.cases import encode, photographs
from export.images import by_name
from export.images.labels import read_labels
from export.images.read import read_image_model
from export.images.write import write_checkpoint
from handlers.image import decode, gpu_decodable, prepare
from handlers.networks import build_network
from tests.export.image_checkpoints import LABELS, MADE, images_of, opened

LIMIT = 50_000_000


@pytest.mark.parametrize("kind", MADE)
def test_the_rebuilt_network_answers_as_its_library_does(kind, tmp_path):
    made = MADE[kind](tmp_path)
    model = read_image_model(made.source, made.architecture, made.labels)
    assert (model.classes, model.labels) == (5, LABELS)
    stage = tmp_path / "stage"
    stage.mkdir()
    write_checkpoint(model, made.source, stage)
    network = build_network(model.library, model.architecture, model.classes, stage)
    answers = []
    with torch.inference_mode():
        for data in photographs():
            pixels = prepare(decode(data, LIMIT), model.preparation)
            assert pixels.shape == (model.height, model.width, 3)
            answers.append(network(images_of(pixels, model.mean, model.std)))
            torch.testing.assert_close(answers[-1], made.answer(data), atol=1e-5, rtol=1e-5)
    assert torch.cat(answers).std(dim=0).max() > 1e-4, "all images have one answer: nothing was compared"


def test_a_name_is_looked_up_in_torchvision_then_in_timm_unless_a_prefix_says_which():
    assert by_name.library_of("resnet18") == ("torchvision", "resnet18")
    assert by_name.library_of("timm:resnet18") == ("timm", "resnet18")
    assert by_name.library_of("efficientnet_lite0") == ("timm", "efficientnet_lite0")


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_imagenets_labels_are_used_for_the_same_number_of_classes(suffix, tmp_path):
    from safetensors.torch import save_file
    from torchvision.models import mobilenet_v3_small

    state = mobilenet_v3_small(weights=None).state_dict()
    path = tmp_path / f"weights.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save({"model": state}, path)
    model = read_image_model(path, "mobilenet_v3_small")
    assert model.classes == 1000 and model.labels[504] == "coffee mug"
    assert model.preparation == {"kind": "photo", "resize": 256, "crop": 224, "interpolation": "bilinear"}
    assert gpu_decodable(model.preparation)


def test_a_published_file_gets_its_published_preparation(tmp_path):
    """ResNet-50's first weights were published with another size than the second, the default."""
    from torchvision.models import ResNet50_Weights, resnet50

    path = tmp_path / ResNet50_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    torch.save(resnet50(weights=None).state_dict(), path)
    assert read_image_model(path, "resnet50").preparation["resize"] == 256
    assert read_image_model(path.rename(tmp_path / "mine.pth"), "resnet50").preparation["resize"] == 232


def test_a_network_of_a_fixed_size_gets_the_preparation_of_that_size():
    network = by_name.shapes("torchvision", "vit_h_14")  # published for 518 px by default, built for 224
    assert by_name.published("vit_h_14", network, "").transforms().crop_size == [224]


@pytest.mark.parametrize(
    "architecture", ["resnet34", "regnet_y_400mf", "squeezenet1_1", "maxvit_t", "swin_v2_t", "vgg11"]
)
def test_the_head_of_torchvisions_architectures_has_a_row_per_class(architecture):
    network = by_name.shapes("torchvision", architecture, 7)
    assert network.state_dict()[by_name.head_of("torchvision", network)].shape[0] == 7


@pytest.mark.parametrize(
    "text",
    ["ant\nbee\n", '["ant", "bee"]', '{"1": "bee", "0": "ant"}', '{"bee": 1, "ant": 0}', "  ant  \r\nbee\r\n\r\n"],
)
def test_every_form_of_a_labels_file(text, tmp_path):
    path = tmp_path / "labels"
    path.write_text(text)
    assert read_labels(path) == ("ant", "bee")


def test_half_precision_weights_become_fp32(tmp_path):
    from safetensors.torch import load_file

    made = MADE["timm file"](tmp_path)
    torch.save(made.network.half().state_dict(), tmp_path / "half.pt")
    model = read_image_model(tmp_path / "half.pt", made.architecture, made.labels)
    write_checkpoint(model, tmp_path / "half.pt", tmp_path)
    written = load_file(tmp_path / "model.safetensors").values()
    assert {tensor.dtype for tensor in written if tensor.is_floating_point()} == {torch.float32}


def test_descriptions_are_better_labels_than_wordnets_numbers(tmp_path):
    MADE["timm folder"](tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["label_descriptions"] = {"ant": "an insect"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert read_image_model(tmp_path).labels == ("an insect", *LABELS[1:])


def test_a_processor_with_another_rescale_factor_gives_the_same_values(tmp_path):
    from transformers import ViTImageProcessor

    made = MADE["transformers ViT"](tmp_path)
    processor = ViTImageProcessor(size={"height": 64, "width": 64}, rescale_factor=1 / 127.5, image_mean=[1.0] * 3)
    processor.save_pretrained(tmp_path)
    model = read_image_model(made.source)
    data = encode(Image.effect_noise((90, 70), 80).convert("RGB"), "PNG")
    ours = images_of(prepare(decode(data, LIMIT), model.preparation), model.mean, model.std)
    theirs = processor(opened(data), return_tensors="pt")["pixel_values"]
    assert (ours - theirs).abs().max() <= 1.01 / 127.5 / 0.5  # a grey level: torchvision's backend rounds otherwise
