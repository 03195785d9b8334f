"""Explanations of images as PNGs, and the part of the image that they show."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from export.cases import SAMPLES
from handlers.explanations.answers import wants_png
from handlers.explanations.frame import frame
from handlers.image import prepare
from tests.handlers.explanations.explained import (
    EXPLAIN,
    TEXT,
    Asked,
    base64_of,
    explain,
    explanation,
    picture,
)


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False), ("*/*", False), ("application/json", False), ("image/png", True), ("image/*", True),
        ("image/png, application/json;q=0.5", True), ("image/png;q=0.4, application/json", False),
        ("text/html,image/avif,image/png;q=0.9,*/*;q=0.8", True), ("image/png;q=x", False), ("text/html", False),
    ],
)  # fmt: skip
def test_the_answer_is_a_png_if_accept_prefers_it(accept, wanted):
    assert wants_png({"aCCept": accept}, True) is wanted


def test_a_png_has_the_rest_of_its_explanation_in_a_header(pictures):
    context = Asked([{**EXPLAIN, "accept": "image/png"}])
    body = {**base64_of(picture()), "parameters": {"steps": 2}}
    (reply,) = pictures.handle([{"body": json.dumps(body).encode()}], context)
    shown, said = Image.open(io.BytesIO(reply)), json.loads(context.out[0]["x-explanation"])
    assert context.out[0]["content-type"] == "image/png" and shown.format == "PNG"
    found = explanation(pictures, base64_of(picture()), steps=2)
    values = np.array(found.pop("attributions"))
    assert said == found and shown.size[0] % values.shape[1] == 0
    scale = shown.size[0] // values.shape[1]
    colours = np.asarray(shown)[::scale, ::scale].astype(int)
    strongest = np.unravel_index(np.abs(values).argmax(), values.shape)
    red, _, blue = colours[strongest]
    assert (red > blue) == (values[strongest] > 0)


def test_a_png_of_a_text_or_of_two_images_is_refused(service, pictures):
    (reply,) = explain(service("bert"), {"text": TEXT}, status=406, accept="image/png")
    assert "application/json" in reply["message"]
    images = {"image": [base64_of(picture(seed))["image"] for seed in range(2)]}
    (reply,) = explain(pictures, images, status=400, accept="image/png")
    assert "one image" in reply["message"]


@pytest.mark.parametrize(
    ("file", "settings"),
    [
        ("coffee.jpg", {"kind": "photo", "resize": 232, "crop": 224}),
        ("flower.jpg", {"kind": "photo", "resize": [200, 260], "crop": None}),
        ("flower.jpg", {"kind": "photo", "resize": 100, "crop": 140}),
        ("seven.png", {"kind": "digit", "size": 64, "margin": 8}),
    ],
)
def test_the_frame_is_the_part_that_the_model_sees(file, settings):
    """The image's part in the frame is cut out, scaled and compared with the prepared pixels."""
    image = Image.open(SAMPLES / file).convert("RGB")
    pixels, found = prepare(image, settings), frame(image, settings)
    box = [round(found[side] * size) for side, size in
           zip(("left", "top", "right", "bottom"), (*image.size, *image.size), strict=True)]  # fmt: skip
    cut = np.asarray(image.crop(box).resize(pixels.shape[1::-1]).convert("L"), dtype=float)
    alike = np.corrcoef(cut.ravel(), pixels.mean(-1).ravel())[0, 1]
    assert abs(alike) > 0.8, (alike, found)
