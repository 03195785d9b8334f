"""Decoding supports every colour mode and turns images upright. The preparation equals torchvision's transforms. A
damaged file is the client's error."""

import base64
import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageDraw

from export.cases import encode, photographs
from handlers.errors import RequestError, TooLarge
from handlers.image import decode, digit, photo, read_images
from handlers.requests import Form, Payload

LIMIT = 10_000_000


def file_of(image: Image.Image, format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def gradient(mode: str) -> Image.Image:
    base = Image.linear_gradient("L").resize((40, 30))
    return base.convert("RGB").convert(mode)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_every_format_decodes_to_rgb(format):
    image = decode(file_of(gradient("RGB"), format), LIMIT)
    assert (image.mode, image.size) == ("RGB", (40, 30))
    assert np.abs(np.asarray(image).astype(int) - np.asarray(gradient("RGB")).astype(int)).max() <= 12


@pytest.mark.parametrize(("mode", "format"), [("L", "PNG"), ("1", "PNG"), ("P", "PNG"), ("P", "GIF"), ("CMYK", "JPEG")])
def test_colour_modes(mode, format):
    image = decode(file_of(gradient(mode), format), LIMIT)
    assert image.mode == "RGB"
    expected = np.asarray(gradient(mode).convert("RGB")).astype(int)
    assert np.abs(np.asarray(image).astype(int) - expected).mean() < 4


def test_transparent_pixels_are_blended_with_white():
    assert decode(file_of(Image.new("RGBA", (4, 4), (0, 0, 0, 0))), LIMIT).getpixel((0, 0)) == (255, 255, 255)


def test_a_transparent_palette_entry_is_blended_with_white():
    image = Image.new("P", (4, 4), 0)
    image.putpalette([10, 20, 30] * 256)
    assert decode(file_of(image, transparency=0), LIMIT).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bits_are_scaled_not_clipped():
    image = Image.fromarray(np.array([[0, 32768, 65535]], dtype=np.uint16))
    assert [p[0] for p in np.asarray(decode(file_of(image), LIMIT))[0].tolist()] == [0, 128, 255]


def test_a_gif_gives_its_first_frame():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = file_of(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(data, LIMIT).getpixel((0, 0)) == (255, 0, 0)


def test_exif_rotation_is_honoured():
    image = Image.new("RGB", (40, 20), "white")
    ImageDraw.Draw(image).rectangle((0, 0, 9, 9), fill="black")
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to view
    upright = decode(file_of(image, "JPEG", exif=exif, quality=95), LIMIT)
    assert upright.size == (20, 40)
    assert upright.getpixel((18, 2))[0] < 60 < upright.getpixel((2, 2))[0]


def test_a_decompression_bomb_is_refused_by_its_header():
    bomb = file_of(Image.new("1", (20_000, 20_000)))
    assert len(bomb) < 100_000  # of 400,000,000 pixels
    with pytest.raises(TooLarge):
        decode(bomb, LIMIT)
    with pytest.raises(TooLarge, match="4000x3000; at most 10000000 pixels"):
        decode(file_of(Image.new("L", (4000, 3000))), LIMIT)


@pytest.mark.parametrize("keep", [0.02, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_files_cut_short_are_the_clients_error(format, keep):
    data = file_of(Image.effect_noise((64, 64), 80).convert("RGB"), format)
    with pytest.raises(RequestError):
        decode(data[: int(len(data) * keep)], LIMIT)


@pytest.mark.parametrize("data", [b"GIF89a", b"hello", b"\x89PNG\r\n\x1a\n", b"%PDF-1.4", b"<svg/>"])
def test_other_bytes_are_the_clients_error(data):
    with pytest.raises(RequestError):
        decode(data, LIMIT)


def test_exif_with_wrong_types_is_the_clients_error():
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x02" + struct.pack(">HHI4sHHIHH4x", 0x0108, 2, 4, b"abc\0", 0x0112, 3, 1, 6, 0)
    with pytest.raises(RequestError, match="corrupted"):
        decode(file_of(gradient("RGB"), "JPEG", exif=exif), LIMIT)


def torchvision_photo(image):
    from torchvision.transforms import CenterCrop, Resize

    return np.asarray(CenterCrop(224)(Resize(232)(image))).astype(int)


@pytest.mark.parametrize("size", [(640, 427), (427, 640), (500, 232), (232, 232), (97, 61), (900, 300), (300, 1025)])
def test_photo_equals_torchvision(size):
    image = Image.open(io.BytesIO(photographs()[0])).convert("RGB").resize(size)
    assert (photo(image, 232, 224) == torchvision_photo(image)).all()


def test_a_sliver_is_within_a_grey_level_and_needs_no_large_intermediate_image():
    image = Image.open(io.BytesIO(photographs()[0])).convert("RGB").resize((1600, 300))
    assert np.abs(photo(image, 232, 224).astype(int) - torchvision_photo(image)).max() <= 1
    assert photo(Image.new("RGB", (1, 50_000), "red"), 232, 224).shape == (224, 224, 3)


def drawn(size=(120, 90), ink=0, paper=255, width=8, at=(0, 0), scale=1.0):
    """The drawing of a seven. With ``scale`` 1 it has about 20 x 50 pixels."""
    image = Image.new("RGB", size, paper if isinstance(paper, tuple) else (paper,) * 3)
    points = [(at[0] + x * scale, at[1] + y * scale) for x, y in ((50, 20), (70, 20), (58, 70))]
    ImageDraw.Draw(image).line(points, fill=ink if isinstance(ink, tuple) else (ink,) * 3, width=width)
    return image


def prepared(image):
    return digit(image, 32, 2)


def far(one, other):
    """The mean difference of two prepared digits in grey levels. It is about 60 for two different digits."""
    return np.abs(prepared(one).astype(int) - prepared(other)).mean()


@pytest.mark.parametrize(("ink", "paper"), [((20, 20, 60), (250, 248, 240)), (255, 0), (90, 140), (160, 120)])
def test_a_digit_becomes_light_on_black_for_every_pen_and_paper(ink, paper):
    pixels = prepared(drawn(ink=ink, paper=paper))
    assert pixels.shape == (32, 32, 3) and pixels.dtype == np.uint8
    assert pixels.max() == 255
    assert np.median(pixels) < 40
    assert far(drawn(ink=ink, paper=paper), drawn()) < 6


def test_a_digit_fills_its_frame_except_the_margin():
    lit = np.flatnonzero((prepared(drawn(size=(400, 300), at=(200, 100))) > 100).any(axis=(1, 2)))
    assert (lit[0], lit[-1]) in {(2, 29), (2, 28), (3, 29)}


@pytest.mark.parametrize("width", [2, 4, 8, 20])
def test_a_thin_pen_is_as_bright_as_a_broad_one(width):
    pixels = prepared(drawn(size=(240, 240), at=(40, 20), scale=2.4, width=width))
    assert np.percentile(pixels[pixels > 60], 60) > 180


def test_uneven_light_is_no_ink():
    plain = drawn(size=(160, 120))
    slope = np.linspace(1.0, 0.5, 160)[None, :, None]
    lit = Image.fromarray((np.asarray(plain) * slope).astype(np.uint8))
    assert far(lit, plain) < 6


def test_noise_does_not_widen_the_frame():
    plain = drawn(size=(320, 240), scale=2)
    noise = np.random.default_rng(0).normal(0, 15, (240, 320, 1))
    noisy = Image.fromarray((np.asarray(plain) * 0.8 + 25 + noise).clip(0, 255).astype(np.uint8))
    assert far(noisy, plain) < 12


def test_pieces_of_ruling_and_specks_do_not_widen_the_frame():
    plain = drawn(size=(96, 96), ink=110, at=(10, 10), width=5)
    marked = np.array(plain)
    marked[::19, :] = np.minimum(marked[::19, :], 215)  # ruling, and where it is darker by noise:
    marked[[0, 19, 38, 57, 76, 95], [5, 88, 9, 90, 84, 3]] = 190
    assert far(Image.fromarray(marked), plain) < 12


def test_a_stroke_that_is_drawn_apart_is_kept():
    image = Image.new("L", (100, 100), 255)
    draw = ImageDraw.Draw(image)
    draw.line([(40, 20), (40, 50), (62, 55), (60, 80), (36, 80)], fill=0, width=4, joint="curve")  # a five without hat
    hat = [(47, 14), (70, 12)]
    draw.line(hat, fill=60, width=3)
    lit = np.flatnonzero((prepared(image.convert("RGB"))[2:6] > 100).any(axis=(0, 2)))
    assert lit[-1] > 18  # the hat reaches beyond the stem, at the top of the frame


def dots(*places):
    pixels = np.full((96, 96), 255, np.uint8)
    for rows, columns in places:
        pixels[rows, columns] = 0
    return Image.fromarray(pixels).convert("RGB")


@pytest.mark.parametrize(
    "image",
    [
        dots((47, 47), (47, 49), (49, 47), (49, 49)),
        dots((slice(20, 70, 2), slice(20, 70, 2))),
    ],
    ids=["four dots", "a square of dots"],
)
def test_dots_without_a_stroke_are_all_kept(image):
    pixels = prepared(image)
    lit = np.flatnonzero((pixels > 60).any(axis=(1, 2)))
    assert pixels.shape == (32, 32, 3) and lit[-1] - lit[0] > 20


def blanks():
    rng = np.random.default_rng(0)
    noise = (200 + rng.normal(0, 6, (300, 400))).astype(np.uint8)
    slope = np.linspace(240, 120, 400)[None].repeat(300, axis=0)
    return {
        "white": Image.new("RGB", (5, 5), "white"),
        "black": Image.new("RGB", (640, 480)),
        "one pixel": Image.new("RGB", (1, 1), "red"),
        "noise": Image.fromarray(noise),
        "a slope of light": Image.fromarray(slope.astype(np.uint8)),
        "a small noisy page": Image.fromarray(noise[:28, :28]),
    }


@pytest.mark.parametrize("name", blanks())
def test_a_blank_page_is_refused_with_advice(name):
    with pytest.raises(RequestError, match=r"blank: no digit stands out .* send one dark digit on light paper"):
        prepared(blanks()[name].convert("RGB"))


@pytest.mark.parametrize("size", [(1, 3_000_000), (3_000_000, 1)])
def test_a_strip_full_of_ink_needs_no_large_square(size):
    pixels = np.full(size[::-1], 255, np.uint8)
    pixels.reshape(-1)[: max(size) // 4] = 0
    assert prepared(Image.fromarray(pixels)).shape == (32, 32, 3)


def test_a_large_drawing_is_read_like_a_small_one():
    small = Image.new("L", (600, 450), 255)
    ImageDraw.Draw(small).line([(250, 100), (350, 100), (290, 350)], fill=0, width=40)
    large = small.resize((4_800, 3_600), Image.Resampling.NEAREST)
    assert far(large, small) <= 2


def test_base64_and_data_urls():
    data = encode(gradient("RGB"), "PNG")
    plain = base64.b64encode(data).decode()
    payload = Payload(Form.LIST, raw=None, items=(plain, f"data:image/png;base64,{plain}"))
    assert read_images(payload) == [data, data]


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ("!!", "base64"),
        (5, "a number"),
        ("", "empty"),
        (None, "null"),
        ("https://example.org/cat.jpg", "is a URL.*fetches no URLs"),
    ],
)
def test_bad_base64(item, says):
    with pytest.raises(RequestError, match=says):
        read_images(Payload(Form.SINGLE, raw=None, items=(item,)))


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize(("size", "mean"), [((640, 480), 3.0), ((1920, 1080), 2.0), ((1200, 1600), 2.0)])
def test_a_large_jpeg_is_decoded_at_reduced_size_and_stays_near_the_reference(index, size, mean):
    """The mean difference from torchvision's transforms of the full picture is at most ``mean`` grey levels."""
    data = file_of(Image.open(io.BytesIO(photographs()[index])).convert("RGB").resize(size), "JPEG", quality=90)
    reduced = decode(data, LIMIT, 232)
    assert 232 <= min(reduced.size) <= min(size) / 2
    difference = np.abs(photo(reduced, 232, 224).astype(int) - torchvision_photo(decode(data, LIMIT)))
    assert difference.mean() < mean


@pytest.mark.parametrize(("size", "format"), [((640, 427), "JPEG"), ((640, 480), "PNG")])
def test_other_formats_and_jpegs_below_twice_the_size_are_decoded_at_full_size(size, format):
    image = Image.open(io.BytesIO(photographs()[0])).convert("RGB").resize(size)
    whole = decode(file_of(image, format), LIMIT, 232)
    assert whole.size == size
    assert (photo(whole, 232, 224) == torchvision_photo(decode(file_of(image, format), LIMIT))).all()


def test_a_reduced_jpeg_is_turned_upright_as_well():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(file_of(Image.new("RGB", (800, 500)), "JPEG", exif=exif), LIMIT, 200).size == (250, 400)
