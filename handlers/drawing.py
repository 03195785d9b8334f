"""Prepares the image of one digit: removes paper, noise and shadow, and scales the digit to fill the image.

Knows nothing of models. Imports neither TorchServe nor torch.
"""

from __future__ import annotations

from math import ceil

import numpy as np
from PIL import Image

from handlers.errors import RequestError

DRAWN = 320  # pixels; a larger drawing is averaged down first
PATCHES = 24  # per side; the paper's brightness is fitted to the means of these patches
RIDGE = np.diag([1e-3, 1, 1, 1, 1, 1]).astype(np.float32)  # ridge regression, for images with little visible paper
NEAR = 0.3  # share of the largest difference to the paper; patches below it count as paper in the next fit
INK = 0.35  # share of the strongest ink; fainter marks are ruling, shadow or noise
STROKE = 0.5  # share of the largest mean over 3 x 3 pixels; pixels above it belong to a stroke
FAINT = 0.2  # share of the strongest ink that is subtracted, since it is shadow or noise
COARSE = 96  # pixels; the drawing is averaged down to this size, in which ink stands out from noise
BLANK = 16.0  # grey levels; an image whose strongest mark is fainter is blank
NOISE = 3.0  # standard deviations of the noise; an image whose strongest mark is fainter is blank


def digit(image: Image.Image, size: int, margin: int) -> np.ndarray:
    """The digit of an image as light ink on black, scaled to a square of ``size`` pixels with a ``margin``.

    The image may have dark ink on light paper, or light ink on dark. The paper's brightness is fitted and subtracted,
    so that uneven light does not count as ink. The ink is then cut out, averaged down to the square and stretched to
    full contrast, since averaging makes thin lines pale. Returns uint8 [size, size, 3].

    Raises RequestError for an image without ink.
    """
    ink, peak, *_ = _cut(image)
    drawn = Image.fromarray((ink / peak - FAINT).clip(0, 1 - FAINT))
    scale = (size - 2 * margin) / max(drawn.size)
    drawn = drawn.resize([max(1, round(side * scale)) for side in drawn.size], Image.Resampling.BILINEAR)
    square = Image.new("F", (size, size), 0)
    square.paste(drawn, ((size - drawn.width) // 2, (size - drawn.height) // 2))
    pixels = np.asarray(square)
    full = np.percentile(pixels[pixels > pixels.max() / 3], 75)
    pixels = (pixels * (255 / full)).clip(0, 255).round().astype(np.uint8)
    return np.repeat(pixels[:, :, None], 3, axis=2)


def digit_frame(image: Image.Image, size: int, margin: int) -> tuple[float, float, float, float]:
    """The square of the image that ``digit`` returns: left, top, right, bottom, as shares of the image's width and
    height."""
    ink, _, (left, top), (width, height) = _cut(image)
    half = max(ink.shape) / 2 * size / (size - 2 * margin)
    x, y = left + ink.shape[1] / 2, top + ink.shape[0] / 2
    return (x - half) / width, (y - half) / height, (x + half) / width, (y + half) / height


def _cut(image: Image.Image) -> tuple[np.ndarray, float, tuple[int, int], tuple[int, int]]:
    """(the ink, float [height, width]; its strength; its upper left corner, (x, y); the size (width, height) of the
    image that it was cut from).

    Raises RequestError for an image without ink.
    """
    gray = _levels(image)
    ink = _paper(gray) - gray
    strongest = float(np.abs(ink).max())
    beyond = np.abs(ink) - INK * strongest
    if beyond[ink > 0].clip(0).sum() < beyond[ink < 0].clip(0).sum():
        ink = -ink  # light on dark
    coarse = _averaged(ink, COARSE)
    peak = float(coarse.max())
    if peak < max(BLANK, NOISE * _noise(gray)):
        raise RequestError(
            "The image is blank: no digit stands out from its paper; send one dark digit on light paper, or light on "
            "dark."
        )
    scale_y, scale_x = (whole / part for whole, part in zip(ink.shape, coarse.shape, strict=True))
    top, bottom, left, right = _extent(_joined(coarse, INK * peak))
    first = int(left * scale_x), int(top * scale_y)
    ink = ink[first[1] : ceil(bottom * scale_y), first[0] : ceil(right * scale_x)]
    top, bottom, left, right = _extent(ink >= INK * peak)
    ink = ink[top:bottom, left:right]
    return ink, peak, (first[0] + left, first[1] + top), (gray.shape[1], gray.shape[0])


def _levels(image: Image.Image) -> np.ndarray:
    """Brightness, float32 [height, width], averaged down to ``DRAWN`` pixels at most."""
    image = image.convert("L")
    if max(image.size) > DRAWN:
        image = image.resize(_within(image.size, DRAWN), Image.Resampling.BOX)
    return np.asarray(image, dtype=np.float32)


def _within(size: tuple[int, int], limit: int) -> tuple[int, int]:
    """``size`` scaled down until its longer side is ``limit``, no side below one pixel."""
    scale = min(1.0, limit / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _averaged(ink: np.ndarray, limit: int) -> np.ndarray:
    image = Image.fromarray(ink)
    return np.asarray(image.resize(_within(image.size, limit), Image.Resampling.BOX))


def _extent(marks: np.ndarray) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of the marks, bool [height, width]; the ends are excluded."""
    rows, columns = (np.flatnonzero(marks.any(axis=axis)) for axis in (1, 0))
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


def _joined(ink: np.ndarray, level: float) -> np.ndarray:
    """bool [height, width]: the marks (ink of at least ``level``) that are connected to a stroke, across gaps of one
    pixel. Noise and ruling also reach the level. They are thinner or fainter than strokes and lie apart, so they are
    left out. An image without a stroke, such as a pattern of dots, keeps all marks."""
    marks = ink >= level
    mean = _windows(np.where(marks, ink, 0)).mean(axis=0)
    found = marks & (mean >= STROKE * mean.max())
    if not found.any():
        return marks
    near = _windows(marks).any(axis=0)
    for _ in range(COARSE):
        grown = _windows(found).any(axis=0) & near
        if (grown == found).all():
            break
        found = grown
    kept: np.ndarray = found & marks
    return kept


def _windows(values: np.ndarray) -> np.ndarray:
    """[9, height, width]: the 3 x 3 neighbourhood of each pixel, padded with 0."""
    height, width = values.shape
    padded = np.pad(values, 1)
    return np.stack([padded[y : y + height, x : x + width] for y in range(3) for x in range(3)])


def _paper(gray: np.ndarray) -> np.ndarray:
    """The paper's brightness at each pixel: a plane or quadratic surface, fitted in four rounds. Each round uses the
    patches that are near the surface of the round before; the first uses those near the border's median."""
    small = np.asarray(Image.fromarray(gray).resize((PATCHES, PATCHES), Image.Resampling.BOX)).ravel()
    border = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    terms = _terms(PATCHES, PATCHES).reshape(-1, 6)
    coefficients = np.array([np.median(border), 0, 0, 0, 0, 0], dtype=np.float32)
    for _ in range(4):
        distance = np.abs(small - terms @ coefficients)
        near = distance <= max(NEAR * float(distance.max()), 8.0)
        if near.mean() < 0.1:  # too little paper to fit a surface to
            break
        kept = 6 if near.mean() > 0.5 else 3  # a quadratic surface extrapolates badly, so a plane if little is seen
        chosen = terms[near, :kept]
        coefficients = np.zeros(6, dtype=np.float32)
        coefficients[:kept] = np.linalg.solve(chosen.T @ chosen + RIDGE[:kept, :kept], chosen.T @ small[near])
    return _terms(*gray.shape) @ coefficients


def _terms(height: int, width: int) -> np.ndarray:
    """float32 [height, width, 6]: 1, x, y, x², xy, y² with x and y from -1 to 1."""
    y, x = ((np.arange(count, dtype=np.float32) * 2 + 1) / count - 1 for count in (height, width))
    y, x = np.meshgrid(y, x, indexing="ij")
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=2)


def _noise(gray: np.ndarray) -> float:
    """The noise's standard deviation in grey levels, from the differences of neighbouring pixels."""
    differences = np.abs(np.diff(gray, axis=1))
    return float(np.median(differences)) * 1.4826 / 2**0.5 if differences.size else 0.0
