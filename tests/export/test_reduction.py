"""JPEG files are decoded at reduced size only if a real network gives the same answers."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from export.cases import photographs
from export.catalog import EXACT
from export.images import efficientnet_lite0
from export.images.reduction import FACTORS, enlarge, measure_reduction
from handlers.image import decode
from handlers.networks import build_network
from tests.export.image_checkpoints import images_of


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """EfficientNet-Lite0, which takes images of any size."""
    folder = tmp_path_factory.mktemp("lite0")
    efficientnet_lite0.write(folder)
    model = efficientnet_lite0.read()
    network = build_network(model.library, model.architecture, model.classes, folder)

    def answers(pixels):
        with torch.inference_mode():
            return torch.cat([network(images_of(each, model.mean, model.std)) for each in pixels]).numpy()

    return answers


def preparation(resize, crop):
    return {"kind": "photo", "resize": resize, "crop": crop, "interpolation": "bicubic"}


def test_a_network_of_64_pixels_decodes_whole_files(outputs):
    measured = measure_reduction(outputs, preparation(64, 64), photographs(), EXACT, classes=True)
    assert not measured.allowed
    assert measured.own.failures


def test_small_files_that_pass_do_not_allow_reductions_of_large_ones(outputs):
    files = photographs()[:1]
    measured = measure_reduction(outputs, preparation(256, 224), files, EXACT, classes=True)
    assert measured.own.max_abs == 0  # photographs of 640 x 427 are decoded at full size for 256 pixels
    assert 0.9 < measured.enlarged < 0.999  # 0.992 measured
    assert not measured.allowed


def test_outputs_that_do_not_depend_on_the_decoding_allow_reductions():
    measured = measure_reduction(lambda p: np.ones((len(p), 3)), preparation(64, 64), photographs()[:2], EXACT, False)
    assert measured.allowed


def test_a_digit_is_never_reduced():
    assert not measure_reduction(None, {"kind": "digit", "grid": 8, "size": 32}, photographs(), EXACT, True).allowed


@pytest.mark.parametrize("factor", FACTORS)
def test_an_enlarged_photograph_is_reduced_by_its_factor(factor):
    data = enlarge(photographs()[0], 100 * factor)
    assert min(Image.open(io.BytesIO(data)).size) == 100 * factor
    assert min(decode(data, 10**9, 100).size) == 100
