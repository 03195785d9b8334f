"""The check of image files before they are decoded. Real files pass unchanged. Truncated and expensive files are
refused."""

import io
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from export.cases import encode, photographs
from handlers.errors import RequestError, TooLarge
from handlers.image import affordable, decode
from handlers.image_structure import inspect
from handlers.image_structure.file import BYTES_PER_PIXEL
from serving.doctor.machine import DECODING
from tests.conftest import ROOT
from tests.trust.fuzz.structures import segment
from tests.trust.hostile_images import hostile, repeated

LIMIT = 50_000_000
QUICKLY = 0.5  # CPU seconds; measured at 0.012 at most


def file_of(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def picture():
    return Image.open(io.BytesIO(photographs()[0])).convert("RGB").resize((320, 213))


def exif(orientation=6):
    made = Image.Exif()
    made[0x0112] = orientation
    return made


@pytest.fixture(scope="module")
def files(picture):
    """Files of all formats, as different programs write them."""
    texts = PngImagePlugin.PngInfo()
    texts.add_text("comment", "x" * 5_000, zip=True)
    small = picture.resize((40, 30))
    frames = {"save_all": True, "append_images": [small.rotate(90), small.rotate(180)]}
    return {
        "jpeg": file_of(picture, "JPEG"),
        "jpeg, progressive": file_of(picture, "JPEG", progressive=True),
        "jpeg, grey": file_of(picture.convert("L"), "JPEG"),
        "jpeg, cmyk": file_of(picture.convert("CMYK"), "JPEG"),
        "jpeg, restarts": file_of(picture, "JPEG", restart_marker_blocks=3),
        "jpeg, metadata": file_of(picture, "JPEG", exif=exif(), icc_profile=b"x" * 560_000, comment=b"y" * 900),
        "jpeg, several": file_of(picture, "MPO", save_all=True, append_images=[picture]),
        "png": file_of(picture, "PNG"),
        "png, texts": file_of(picture, "PNG", pnginfo=texts, exif=exif(), icc_profile=b"x" * 90_000),
        "png, palette": file_of(picture.quantize(), "PNG", transparency=3),
        "png, animated": file_of(small, "PNG", **frames),
        "webp": file_of(picture, "WEBP", exif=exif()),
        "webp, lossless": file_of(picture, "WEBP", lossless=True),
        "webp, animated": file_of(small, "WEBP", **frames),
        "gif": file_of(picture, "GIF", comment=b"z" * 900),
        "gif, animated": file_of(small, "GIF", **frames),
        "bmp": file_of(picture, "BMP"),
        "bmp, palette": file_of(picture.quantize(), "BMP"),
        "bmp, two colours": file_of(picture.convert("1"), "BMP"),
    }


def pillows(data):
    """Pillow's pixels of the whole file."""
    from PIL import ImageOps

    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if image.mode == "RGBA" or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def test_files_as_programs_write_them_keep_their_pixels(files):
    for name, data in files.items():
        assert (np.asarray(decode(data, LIMIT)) == pillows(data)).all(), name
        trailed = data + b"trailing bytes, such as a film" * 99
        assert (np.asarray(decode(trailed, LIMIT)) == pillows(data)).all(), name


def test_an_ordinary_file_is_not_copied(files):
    assert all(inspect(files[name]).data is files[name] for name in ("jpeg", "jpeg, progressive", "png", "webp", "bmp"))


def test_metadata_that_does_not_affect_the_pixels_is_removed(files):
    for name in ("jpeg, metadata", "png, texts", "jpeg, several", "gif"):
        assert len(inspect(files[name]).data) < len(files[name]) - 100, name


def test_a_file_cut_off_anywhere_is_refused(files):
    for name, data in files.items():
        if name == "jpeg, several":  # the file may be cut after its first picture
            data = data[: data.index(b"\xff\xd9\xff\xd8", data.index(b"\xff\xda")) + 2]
        for cut in (1, 2, 3, 5, 12, 40, len(data) // 2, len(data) - 20):
            with pytest.raises(RequestError):
                decode(data[:-cut], LIMIT)


@pytest.mark.parametrize("at", [20, 60, 400, -20, -6])
def test_a_wrong_checksum_is_refused(files, at):
    data = bytearray(files["png"])
    data[at] ^= 4
    with pytest.raises(RequestError, match=r"corrupted|cut short"):
        decode(bytes(data), LIMIT)


def quickest(action):
    """The CPU seconds of the fastest of three runs, since Python's garbage collector may slow one down."""
    took = []
    for _ in range(3):
        began = time.thread_time()
        action()
        took.append(time.thread_time() - began)
    return min(took)


def refused(data, says):
    with pytest.raises(RequestError, match=says):
        decode(data, LIMIT)


def test_structures_that_no_program_writes_are_refused_quickly():
    for name, (data, says) in hostile().items():
        assert quickest(lambda data=data, says=says: refused(data, says)) < QUICKLY, name


@pytest.mark.filterwarnings("ignore")
def test_metadata_that_is_slow_to_decode_is_removed_quickly(files):
    """Files of 16 MB with Photoshop's resources, fill bytes, ICC profiles, and EXIF of 5,400 values of 60 kB."""
    plain = files["jpeg"]
    entries = b"".join(struct.pack(">HHII", 0x9000 + index, 7, 60_000, 10) for index in range(5_400))
    values = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", 5_400) + entries
    for piece in (
        segment(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 5_000),
        segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(60_000)),
        segment(0xE1, values),
        b"\xff" * 16_000,
    ):
        file = repeated(plain, piece)
        assert quickest(lambda file=file: decode(file, LIMIT)) < QUICKLY


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_more_exif_than_a_camera_writes_is_refused(picture, format):
    with pytest.raises(TooLarge, match="EXIF"):
        decode(file_of(picture, format, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0" + bytes(100_000)), LIMIT)


def test_odd_exif_gives_no_warnings(files, tmp_path):
    """Runs in a separate process, since pytest sets its own filters for warnings."""
    values = b"Exif\0\0MM\0*\0\0\0\x08\0\2" + struct.pack(">HHII", 0x9000, 7, 60_000, 10) * 2
    (tmp_path / "odd.jpg").write_bytes(repeated(files["jpeg"], segment(0xE1, values), 100))
    code = "import sys; from handlers.image import decode; decode(open(sys.argv[1], 'rb').read(), 10**9)"
    found = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "odd.jpg"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize(
    ("mode", "format", "options", "weight"),
    [
        ("RGB", "JPEG", {}, 1),
        ("RGB", "JPEG", {"progressive": True}, 1),
        ("RGB", "JPEG", {"progressive": True, "subsampling": 0}, 1.25),
        ("CMYK", "JPEG", {"progressive": True, "subsampling": 0}, 1.5),
        ("L", "PNG", {}, 1),
        ("RGB", "PNG", {}, 2),
        ("RGBA", "PNG", {}, 3),
        ("I;16", "PNG", {}, 4 / 3),
        ("RGB", "WEBP", {}, 2),
        ("RGB", "GIF", {}, 1),
        ("RGB", "GIF", {"transparency": 3}, 3),
        ("RGB", "BMP", {}, 1),
    ],
)
def test_the_weight_of_a_pixel_by_format_and_mode(picture, mode, format, options, weight):
    file = inspect(file_of(picture.quantize() if format == "GIF" else picture.convert(mode), format, **options))
    assert file.weight == pytest.approx(weight)
    assert affordable(file, file.cost) is file
    with pytest.raises(TooLarge, match=r"320x213.* at most"):
        affordable(file, file.cost - 1)


@pytest.mark.parametrize("lossless", [False, True])
def test_a_transparent_webp_weighs_more(picture, lossless):
    clear = picture.copy()
    clear.putalpha(127)
    assert [inspect(file_of(image, "WEBP", lossless=lossless)).weight for image in (picture, clear)] == [2, 3]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "I;16", "P"])
def test_pixels_converted_in_strips_are_those_of_the_whole(picture, monkeypatch, mode):
    alpha = Image.linear_gradient("L").resize(picture.size)
    image = picture.convert("L" if mode == "LA" else "RGB")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    elif mode != "P":
        image.putalpha(alpha)
    options = {"transparency": bytes(range(256))} if mode == "P" else {}
    data = file_of(image.quantize() if mode == "P" else image, "PNG", **options)
    whole = np.asarray(decode(data, LIMIT))
    monkeypatch.setattr("handlers.image.STRIP", 5_000)
    assert (np.asarray(decode(data, LIMIT)) == whole).all() and whole.std() > 10


def test_the_doctor_assumes_the_memory_of_a_pixel():
    assert DECODING == BYTES_PER_PIXEL


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP"])
def test_decoding_stops_when_its_cpu_time_is_spent(picture, monkeypatch, format):
    data = encode(picture, format) if format != "GIF" else file_of(picture, format)
    monkeypatch.setattr("handlers.image.CPU_SECONDS", -1.0)
    with pytest.raises(TooLarge, match="to decode"):
        decode(data, LIMIT)
