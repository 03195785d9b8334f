"""``photo`` gives the same bytes as torchvision, timm and transformers' Pillow backend."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.images.by_name import timm_pixels
from export.images.processor import processor_pixels
from handlers.image import REDUCED, SLIVER, decode, gpu_decodable, min_side, photo, prepare

FILES = sorted((Path(__file__).resolve().parent.parent / "photographs").glob("*.jpg"))


def photographs() -> list[Image.Image]:
    """Wide, square, tall and small photographs, some with odd sides, and one of a size that preparations resize to."""
    images = [Image.open(path).convert("RGB") for path in FILES]
    cat = next(image for image, path in zip(images, FILES, strict=True) if path.stem == "cat")
    return [*images, cat.resize((97, 61)), cat.crop((100, 0, 230, 299)), cat.resize((256, 256)), cat.resize((301, 225))]


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos", "nearest"])
@pytest.mark.parametrize(("resize", "crop"), [(256, 224), (64, 64), (71, 64), ([80, 60], [77, 51]), (50, 64)])
def test_it_equals_torchvision(resize, crop, interpolation):
    """A crop that is larger than the image is filled with black, as CenterCrop does."""
    from torchvision.transforms import CenterCrop, InterpolationMode, Resize

    scale, cut = Resize(resize, InterpolationMode(interpolation)), CenterCrop(crop)
    for image in photographs():
        assert (photo(image, resize, crop, interpolation) == np.asarray(cut(scale(image)))).all(), image.size


@pytest.mark.parametrize(
    "config",
    [
        {"input_size": (3, 224, 224)},
        {"crop_pct": 0.95, "interpolation": "bicubic"},
        {"input_size": (3, 72, 72), "crop_pct": 1.0, "interpolation": "lanczos"},
        {"input_size": (3, 96, 160), "crop_pct": 0.9, "crop_mode": "squash", "interpolation": "bilinear"},
        {"input_size": (3, 65, 65), "crop_pct": 0.8, "crop_mode": "center", "mean": (0.5,) * 3, "std": (0.5,) * 3},
    ],
)
def test_it_equals_timm(config):
    from timm.data import create_transform, resolve_data_config

    pixels = timm_pixels(config, "any")
    transform = create_transform(**resolve_data_config(pretrained_cfg=config), normalize=False)
    for image in photographs():
        assert (prepare(image, pixels.preparation) == transform(image).permute(1, 2, 0).numpy()).all(), image.size


PROCESSORS = [
    ("ViT", {}),
    ("ViT", {"size": {"height": 60, "width": 81}, "resample": 1}),
    ("ConvNext", {"size": {"shortest_edge": 224}}),
    ("ConvNext", {"size": {"shortest_edge": 64}, "crop_pct": 0.9, "resample": 2}),
    ("ConvNext", {}),
    ("CLIP", {"size": {"shortest_edge": 225}}),
    ("CLIP", {"size": {"shortest_edge": 90}, "crop_size": {"height": 70, "width": 51}}),
    ("DeiT", {}),
    ("Bit", {"rescale_factor": 1 / 127.5, "do_normalize": False}),
]


@pytest.mark.parametrize(("name", "settings"), PROCESSORS)
@pytest.mark.parametrize("backend", ["pil", "torchvision"])
def test_it_equals_transformers(name, settings, backend, tmp_path):
    """The pixels are equal with the Pillow backend. AutoImageProcessor's default is the torchvision backend, which
    rounds differently: the difference is at most 4 grey levels, and 0.3 on average."""
    import transformers

    getattr(transformers, f"{name}ImageProcessor")(**settings).save_pretrained(tmp_path)
    pixels = processor_pixels(tmp_path)
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend=backend)
    for image in photographs():
        normalised = processor(image, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
        theirs = (normalised * np.array(pixels.std) + np.array(pixels.mean)) * 255
        difference = np.abs(prepare(image, pixels.preparation) - theirs)
        assert difference.max() < (0.01 if backend == "pil" else 4.01), image.size
        assert difference.mean() < 0.3


def test_images_that_are_cropped_first_have_the_same_black_frame():
    image = photographs()[0]
    whole = photo(image, 100, [120, 60], "bicubic").astype(int)
    image.info[REDUCED] = True
    assert np.abs(photo(image, 100, [120, 60], "bicubic") - whole).max() <= 2
    strip = photo(Image.new("RGB", (1, 3000 * SLIVER), "red"), 224, [224, 300])
    assert strip.shape == (224, 300, 3) and (strip[:, :38] == 0).all() and (strip[:, 38:262, 0] == 255).all()


def test_a_large_jpeg_keeps_the_pixels_that_a_squashing_preparation_needs():
    preparation = {"kind": "photo", "resize": [80, 160], "crop": [80, 160]}
    data = (FILES[-1]).read_bytes()
    assert min(decode(data, 10**9, min_side(preparation)).size) >= 160
    assert min_side({"kind": "digit", "grid": 8, "size": 32}) == 0


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({}, True),
        ({"interpolation": "bilinear"}, True),
        ({"interpolation": "bicubic"}, False),
        ({"resize": [232, 232]}, False),
        ({"crop": [224, 200]}, False),
        ({"crop": 240}, False),
        ({"corner": "floor"}, False),
    ],
)
def test_which_preparations_the_gpu_supports(change, fits):
    assert gpu_decodable({"kind": "photo", "resize": 232, "crop": 224, **change}) is fits
    assert not gpu_decodable({"kind": "digit", "grid": 8, "size": 32})
