"""Makes pictures of digits like those of pens, printers, scanners and phones, from an ink mask or a pen's path.

A mask is an image of mode L, ink 255 on 0, cropped to the ink.
"""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from export.digits.strokes import Path

HEIGHT = 112  # pixels of a written digit before it is put on its page
PEN = (0.02, 0.26)  # a pen's width over the digit's height


def ink(path: Path, rng: np.random.Generator) -> Image.Image:
    """The path drawn with a pen of random width, round or broad-edged."""
    width = HEIGHT * math.exp(rng.uniform(*np.log(PEN)))
    edge = rng.uniform(0.5, 1.0) if rng.random() < 0.2 else 1.0  # a broad-edged pen draws thin lines in one direction
    points = np.concatenate(path)
    low = points.min(axis=0)
    scale = np.array([HEIGHT * edge, HEIGHT]) / max(float((points.max(axis=0) - low)[1]), 0.5)
    pad = width / 2 + 2
    extent = (points.max(axis=0) - low) * scale + 2 * pad
    mask = Image.new("L", (math.ceil(extent[0]), math.ceil(extent[1])), 0)
    draw = ImageDraw.Draw(mask)
    for stroke in path:
        xy = [(float(x), float(y)) for x, y in (stroke - low) * scale + pad]
        draw.line(xy, fill=255, width=max(1, round(width)), joint="curve")
        for x, y in (xy[0], xy[-1]):
            draw.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)
    return mask.resize((max(1, round(mask.width / edge)), mask.height)) if edge < 1 else mask


def lean(mask: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A printed digit with random weight and width."""
    kind = rng.random()
    if kind < 0.15:
        mask = mask.filter(ImageFilter.MaxFilter(3))
    elif kind < 0.25:
        thinner = mask.filter(ImageFilter.MinFilter(3))
        if np.asarray(thinner).mean() > 0.6 * np.asarray(mask).mean():  # a hairline would disappear
            mask = thinner
    return mask.resize((max(4, round(mask.width * math.exp(rng.normal(0, 0.12)))), mask.height))


def page(mask: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A picture (mode L) of the mask's ink on a page, with random position, perspective, light, blur, noise and JPEG
    compression."""
    side = round(math.exp(rng.uniform(math.log(26), math.log(132))))
    size = (side, max(20, round(side * rng.uniform(0.75, 1.33))))
    coverage = np.asarray(_placed(mask, size, rng), dtype=np.float32) / 255
    paper, contrast = rng.uniform(150, 255), rng.uniform(0.3, 1.0)
    contrast = min(1.0, max(contrast, 50 / (paper * coverage.max())))  # at least 50 grey levels
    levels = paper * (1 - contrast * coverage)
    if rng.random() < 0.12:
        levels = np.minimum(levels, paper * (1 - 0.25 * contrast * coverage.max() * _ruling(size, rng)))
    if contrast > 0.4 and rng.random() < 0.4:
        levels = levels * _light(size, rng)
    if rng.random() < 0.3:
        levels = 255 - levels
    if rng.random() < 0.5:
        levels = levels + rng.normal(0, rng.uniform(1, 0.09 * contrast * paper), levels.shape)
    picture = Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))
    return _jpeg(picture, rng) if rng.random() < 0.3 else picture


def _placed(mask: Image.Image, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """The mask in a page of ``size``, slightly rotated and in perspective."""
    width, height = size
    scale = min(width / mask.width, height / mask.height) * rng.uniform(0.35, 0.92)
    if scale < 0.7:  # average first, since a transform samples single pixels
        mask = mask.resize((max(2, round(mask.width * scale)), max(2, round(mask.height * scale))))
        scale = 1.0
    half = np.array([mask.width, mask.height]) * scale / 2
    turn, shear = rng.normal(0, 0.09), rng.normal(0, 0.08)
    matrix = np.array([[math.cos(turn), -math.sin(turn) + shear], [math.sin(turn), math.cos(turn)]])
    corners = (np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half) @ matrix.T
    corners *= 1 + rng.normal(0, 0.05, (4, 1))
    room = np.maximum(np.array(size) / 2 - np.abs(corners).max(axis=0), 0)
    corners += np.array(size) / 2 + rng.uniform(-1, 1, 2) * room
    source = np.array([[0, 0], [mask.width, 0], [mask.width, mask.height], [0, mask.height]])
    placed = mask.transform(size, Image.Transform.PERSPECTIVE, _perspective(corners, source), Image.Resampling.BILINEAR)
    if rng.random() < 0.5:
        placed = placed.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.02 * min(size) + 0.3)))
    return placed


def _perspective(target: np.ndarray, source: np.ndarray) -> list[float]:
    """The eight coefficients with which Pillow maps the corners ``target`` back to ``source``."""
    rows, values = [], []
    for (x, y), (u, v) in zip(target, source, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return [float(c) for c in np.linalg.solve(np.array(rows, dtype=float), np.array(values, dtype=float))]


def _ruling(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Faint lines of ruled or squared paper: float [height, width], 1 on a line."""
    step = max(5, round(min(size) * rng.uniform(0.15, 0.4)))
    lines = np.zeros(size[::-1], np.float32)
    lines[int(rng.integers(step)) :: step] = 1
    if rng.random() < 0.5:
        lines[:, int(rng.integers(step)) :: step] = 1
    return lines


def _light(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Uneven light, float [height, width], at most 1: a gradient across the page, and sometimes a shadow's edge."""
    y, x = np.meshgrid(np.linspace(-1, 1, size[1]), np.linspace(-1, 1, size[0]), indexing="ij")
    angle = rng.uniform(0, 2 * math.pi)
    along = (math.cos(angle) * x + math.sin(angle) * y) / math.sqrt(2)
    light = 1 - rng.uniform(0, 0.4) * (along + 1) / 2
    if rng.random() < 0.4:
        edge, softness = rng.uniform(-0.6, 0.6), rng.uniform(0.4, 1.0)
        light = light * (1 - rng.uniform(0.1, 0.3) / (1 + np.exp((along - edge) * 4 / softness)))
    return light.astype(np.float32)


def _jpeg(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=int(rng.integers(30, 95)))
    return Image.open(file).convert("L")
