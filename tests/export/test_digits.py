"""The digits model recognises held-out scans, print and drawings, and plain digits of different pens."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from export import cases
from export.catalog import model
from export.digits import SIZE, fonts, pixels, split
from export.digits.accuracy import TARGET
from export.digits.data import held_out, printed, written
from export.digits.drawings import distance, drawing
from export.digits.training import to_kernels, to_middles
from export.weights import Choice, write_checkpoint
from loadtest.load.payloads import payloads

# The way points of plain digits on a page of 100 x 100.
PLAIN = {
    0: [(50, 15), (33, 25), (28, 50), (33, 75), (50, 85), (67, 75), (72, 50), (67, 25), (50, 15)],
    1: [(38, 30), (52, 15), (52, 85)],
    2: [(30, 32), (36, 19), (50, 15), (64, 20), (68, 34), (60, 50), (30, 85), (70, 85)],
    3: [(32, 20), (50, 15), (66, 24), (66, 38), (48, 48), (68, 60), (68, 76), (50, 85), (31, 79)],
    4: [(58, 15), (28, 62), (74, 62), (60, 62), (60, 40), (60, 85)],
    5: [(68, 15), (36, 15), (33, 46), (50, 41), (66, 50), (68, 68), (54, 84), (32, 79)],
    6: [(62, 15), (42, 34), (32, 60), (36, 79), (52, 85), (67, 75), (66, 58), (52, 51), (36, 60)],
    7: [(28, 16), (70, 16), (44, 85)],
    8: [(50, 48), (35, 36), (36, 22), (50, 15), (64, 22), (65, 36), (50, 48), (33, 62), (35, 79), (50, 85), (65, 79),
        (67, 62), (50, 48)],
    9: [(66, 34), (52, 47), (36, 40), (35, 24), (50, 15), (65, 24), (66, 34), (60, 85)],
}  # fmt: skip


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    from handlers.architectures import ImageModel
    from handlers.networks import build_network

    found = write_checkpoint(model("digits"), Choice(), tmp_path_factory.mktemp("digits"), lambda text: None)
    network = build_network(found.head["library"], found.head["architecture"], found.head["classes"], found.directory)
    return ImageModel(network, found.image.mean, found.image.std).eval()


def scores(network, pngs):
    """float [N, 10]: the probability of each digit."""
    import torch

    with torch.inference_mode():
        return network(torch.from_numpy(pixels(pngs))).softmax(1).numpy()


def plain(digit, pen):
    """The digit, drawn with a pen whose width is the share ``pen`` of the picture's width."""
    width = max(1, round(300 * pen))
    image = Image.new("L", (300, 300), 250)
    draw = ImageDraw.Draw(image)
    points = [(3 * x, 3 * y) for x, y in PLAIN[digit]]
    draw.line(points, fill=30, width=width, joint="curve")
    return cases.encode(image, "PNG")


@pytest.fixture(scope="module")
def unseen():
    """600 pictures of each generated kind, and the scans."""
    return held_out(600)


@pytest.mark.parametrize("kind", ["scans", "print", "drawings"])
def test_at_least_98_percent_of_each_held_out_kind_are_read(network, unseen, kind):
    pngs, labels = unseen[kind]
    assert (scores(network, pngs).argmax(1) == labels).mean() >= TARGET == 0.98


@pytest.mark.parametrize("pen", [0.015, 0.03, 0.06, 0.12, 0.18])
def test_every_plain_digit_is_read_with_every_pen(network, pen):
    assert scores(network, [plain(digit, pen) for digit in range(10)]).argmax(1).tolist() == list(range(10))


def test_the_samples_are_read_with_a_margin(network):
    seven = (cases.SAMPLES / "seven.png").read_bytes()
    assert scores(network, [seven])[0, 7] > 0.8
    sent = payloads(model("digits"))
    found = scores(network, [payload.body for payload in sent])
    assert [str(digit) for digit in found.argmax(1)] == [payload.name for payload in sent]


def test_no_family_is_both_trained_on_and_held_out():
    assert not set(fonts.TRAINING) & set(fonts.HELD_OUT)
    assert not {package for package, _, _ in fonts.TRAINING.values()} & {p for p, _, _ in fonts.HELD_OUT.values()}


@pytest.mark.parametrize("family", [*fonts.TRAINING, *fonts.HELD_OUT])
def test_each_face_of_a_family_has_ten_different_digits(family):
    faces = fonts.faces(family)
    assert faces
    for face in faces:
        assert len({fonts.glyph(digit, face).tobytes() for digit in range(10)}) == 10, face


def test_training_leaves_out_only_kernel_parts_on_padding():
    """With the middles of some kernels, the network's outputs equal those of torchvision's network. So do the outputs
    after the kernels are restored."""
    import torch
    from torchvision.models import resnet18

    torch.manual_seed(0)
    network, pictures = resnet18(num_classes=10), torch.rand(4, 3, SIZE, SIZE)
    kernels, shapes = network(pictures), {name: value.shape for name, value in network.state_dict().items()}
    to_middles(network)
    assert network.layer4[1].conv2.weight.shape == (512, 512, 1, 1)
    assert torch.allclose(network(pictures), kernels, atol=1e-5)
    to_kernels(network)
    assert torch.allclose(network(pictures), kernels, atol=1e-5)
    assert {name: value.shape for name, value in network.state_dict().items()} == shapes


@pytest.mark.parametrize("square", [True, False])
def test_a_pen_inks_nothing_beyond_its_reach(square):
    stroke = np.array([[0.2, -0.1], [0.5, 0.4], [0.45, 0.9]])
    everywhere, near = distance(stroke, 40, square, 2.0), distance(stroke, 40, square, 0.1)
    assert np.isfinite(everywhere).all() and not np.isfinite(near).all()
    assert (near[everywhere <= 0.1] == everywhere[everywhere <= 0.1]).all() and (near >= everywhere).all()


@pytest.mark.parametrize("make", [printed, lambda index: printed(index, held_out=True), written, drawing])
def test_pictures_depend_only_on_their_number(make):
    again = [make(index).tobytes() for index in (7, 3, 12)]
    assert again == [make(index).tobytes() for index in (7, 3, 12)] and len(set(again)) == 3


def test_the_split_holds_every_kind_and_shares_no_picture():
    train, train_labels, apart, labels = split()
    assert len(train) == len(train_labels) and len(apart) == len(labels)
    assert len(apart) == sum(len(kind.pngs) for kind in held_out().values())
    assert not set(train) & set(apart)
    assert {Image.open(io.BytesIO(png)).format for png in apart} == {"PNG"}
    assert np.bincount(labels).min() > len(labels) / 12
