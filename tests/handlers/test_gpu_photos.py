"""Which photographs are decoded on the device, and which on the host. These tests use the CPU, where torchvision's
decoder is libjpeg. tests/test_gpu.py tests nvJPEG."""

import io

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from export.cases import encode, photographs
from handlers.errors import RequestError
from handlers.gpu_photos import GpuPhotos, suits
from handlers.image import decode, photo
from handlers.image_structure import inspect

LIMIT = 50_000_000


def on_host(data):
    return photo(decode(data, LIMIT), 232, 224)


def taken(photos, data):
    file = inspect(data)
    assert photos.takes(file)
    return file


@pytest.fixture
def photos():
    return GpuPhotos(torch.device("cpu"), 232, 224, lambda file: on_host(file.data))


@pytest.fixture(scope="module")
def picture():
    return Image.open(io.BytesIO(photographs()[0])).convert("RGB")


def jpeg(image, **options):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90, **options)
    return file.getvalue()


@pytest.mark.parametrize("size", [(640, 427), (427, 640), (500, 232), (97, 61), (900, 300), (300, 925), (1600, 1200)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_pixels_are_those_of_the_host_within_rounding(photos, picture, size, mode):
    data = jpeg(picture.resize(size).convert(mode))
    difference = np.abs(photos([taken(photos, data)])[0].numpy().astype(int) - on_host(data))
    assert difference.max() <= 2 and difference.mean() < 0.5


def upright_no_more():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def test_files_that_the_gpu_would_decode_differently_are_left_to_the_host(picture):
    assert suits(inspect(jpeg(picture)), 232)
    for other in (
        jpeg(picture, exif=upright_no_more()),
        jpeg(picture.convert("CMYK")),
        jpeg(picture, keep_rgb=True),
        jpeg(picture.resize((1500, 200))),
        encode(picture, "PNG"),
        damaged(jpeg(picture)),
    ):
        assert not suits(inspect(other), 232)


OPTIONS = [{}, {"progressive": True}, {"subsampling": 0}, {"exif": Image.Exif().tobytes()}, {"comment": b"x"},
           {"dpi": (72, 72)}, {"keep_rgb": True}]  # fmt: skip


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_simple_files_get_the_same_decision_without_reading_their_metadata(picture, mode):
    for size in ((160, 107), (800, 100)):
        for options in OPTIONS:
            file = inspect(jpeg(picture.resize(size).convert(mode), **options))
            assert suits(file, 232) == suits(file._replace(simple=False), 232), (size, options)
            odd = "exif" in options or (mode == "RGB" and "keep_rgb" in options)
            assert file.simple == (mode != "CMYK" and not odd), (size, options)


def damaged(data):
    """A JPEG with two components, which neither Pillow nor nvJPEG supports."""
    start = data.index(b"\xff\xc0")
    return data[: start + 9] + b"\2" + data[start + 10 :]


def test_a_batch_prepared_by_host_and_gpu_keeps_its_order(photos, picture):
    files = [jpeg(picture), jpeg(picture.rotate(90, expand=True)), jpeg(picture.crop((0, 0, 300, 300)))]
    items = [on_host(files[0]), taken(photos, files[1]), taken(photos, files[2])]
    expected = np.stack([on_host(data) for data in files]).astype(int)
    assert np.abs(photos(items).numpy() - expected).max() <= 2


def test_many_pixels_are_decoded_in_several_groups(photos, picture, monkeypatch):
    monkeypatch.setattr("handlers.gpu_photos.PIXELS_AT_ONCE", 600_000)
    data, goes, decode = jpeg(picture), [], torchvision.io.decode_jpeg
    monkeypatch.setattr(
        "torchvision.io.decode_jpeg", lambda files, **options: goes.append(len(files)) or decode(files, **options)
    )
    pixels = photos([taken(photos, data)] * 3).numpy()
    assert goes == [2, 1]  # 640 x 427 each
    assert (pixels[0] == pixels[1]).all() and (pixels[0] == pixels[2]).all() and pixels.std() > 10


@pytest.mark.parametrize("step", ["torchvision.io.decode_jpeg", "torch.nn.functional.interpolate"])
@pytest.mark.parametrize("error", [RuntimeError("nvJPEG: not supported\nand a stack"), torch.OutOfMemoryError("full")])
def test_files_that_the_gpu_fails_on_are_prepared_or_refused_by_the_host(photos, picture, monkeypatch, step, error):
    data = jpeg(picture)
    items = [taken(photos, data)] * 2

    def fails(*arguments, **options):
        raise error

    monkeypatch.setattr(step, fails)
    assert (photos(items)[1].numpy() == on_host(data)).all()
    start = data.index(b"\xff\xc4")
    damaged = taken(photos, data[:start] + b"\xff\xc4\x00\x05" + data[start + 4 :])
    with pytest.raises(RequestError):
        photos([items[0], damaged])
