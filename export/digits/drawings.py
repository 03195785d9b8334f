"""Held-out drawings: digits traced by hand as way points, and drawn with other pens than in training.

Shares no code with ``strokes`` and ``pages``. A model that has learnt only their shapes, pens and pages fails here.
Shapes are way points instead of arcs, and ink is a function of the distance to the path instead of a drawn line.
"""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
from PIL import Image

SEED = 20
SIDES = (28, 48, 64, 100, 160, 240)
PENS = (0.015, 0.2)  # a pen's width over the picture's side

# Traces of each digit: strokes are separated by "|", and way points are "x,y" in hundredths, y down. "~" marks a stroke
# with rounded corners; the others are straight lines between the points.
TRACES = (
    (
        "~50,2 30,12 18,38 18,65 30,90 50,98 72,88 82,60 80,32 68,10 50,2",
        "~62,4 40,4 22,25 16,55 25,85 48,97 72,86 84,58 78,28 60,8 50,6",
        "~45,0 25,20 22,50 28,82 48,100 66,85 74,52 68,18 45,0",
        "30,5 70,5 82,25 82,75 70,95 30,95 18,75 18,25 30,5",
    ),
    (
        "50,0 50,100",
        "30,22 52,0 52,100",
        "28,28 54,2 50,100|28,100 74,100",
        "~56,0 50,45 46,100",
    ),
    (
        "~20,25 28,8 50,0 72,10 76,30 62,55 40,78 18,98|18,98 82,98",
        "~18,22 40,2 66,8 72,28 55,58 20,96 45,94 84,98",
        "20,10 70,0 80,30 20,100 85,100",
        "~24,20 45,0 74,12 70,40 46,70 22,92 18,98 26,90 40,90 60,98 84,92",
    ),
    (
        "~22,12 45,0 70,10 70,34 45,48|~45,48 72,56 80,76 62,98 34,98 16,84",
        "18,2 78,2 46,40|~46,40 76,52 78,80 52,99 18,88",
        "~20,10 52,0 72,20 55,42 36,48 60,50 80,70 62,95 36,100 14,88",
        "20,5 70,5 75,25 45,47 78,60 75,90 20,97",
    ),
    (
        "28,0 18,55 82,55|66,25 66,100",
        "68,0 14,68 88,68|68,0 68,100",
        "~30,2 24,30 22,50 50,54 78,50|70,5 66,98",
        "60,0 60,100|60,0 10,72 86,72",
    ),
    (
        "75,2 30,2 26,42|~26,42 50,36 74,48 78,70 64,94 38,100 16,88",
        "80,0 28,4 24,48 60,44 78,66 70,92 18,98",
        "~30,0 28,24 25,45 48,38 72,50 76,76 56,98 18,92|30,0 78,0",
        "~78,4 52,2 32,6 26,40 52,40 78,60 72,88 46,100 20,90",
    ),
    (
        "~68,2 42,20 24,50 20,76 36,98 62,96 76,76 62,58 38,60 22,76",
        "~56,0 36,32 24,66 30,92 52,100 72,88 72,66 52,56 28,68",
        "~74,10 50,2 28,28 20,60 28,92 54,99 78,82 72,60 46,54 22,68",
        "50,0 22,60 22,92 50,100 74,90 74,66 50,58 24,68",
    ),
    (
        "16,2 82,2 40,100",
        "18,4 80,4|~80,4 56,45 44,100",
        "16,4 84,2 42,98|34,50 76,46",
        "16,20 18,4 80,4 44,100",
        "~15,8 50,2 84,4 62,40 48,98",
    ),
    (
        "~50,48 26,34 26,12 50,0 74,12 72,34 50,48 24,66 20,86 50,100 80,86 76,66 50,48",
        "~74,14 50,2 26,16 32,38 62,56 78,80 54,99 26,86 32,62 66,38 76,18",
        "~50,2 28,12 28,34 50,44 72,34 72,12 50,2|~50,44 22,58 22,86 50,100 78,86 78,58 50,44",
        "25,5 75,5 75,42 25,52 25,95 75,95 75,52 25,42 25,5",
    ),
    (
        "~74,22 54,2 28,12 24,34 44,48 68,38 75,20|75,20 68,100",
        "~72,10 44,2 24,24 38,46 68,36 76,10 76,50 64,88 34,99",
        "~70,28 46,44 24,28 34,6 60,2 74,18 70,45 58,100",
        "74,8 30,5 25,42 74,42|74,5 74,100",
    ),
)


def _trace(text: str) -> list[np.ndarray]:
    """The strokes of a trace as dense points, float [points, 2], from 0 to 1."""
    strokes = []
    for stroke in text.split("|"):
        points = np.array([[float(v) for v in pair.split(",")] for pair in stroke.lstrip("~").split()]) / 100
        strokes.append(_rounded(points) if stroke.startswith("~") else points)
    return strokes


def _rounded(points: np.ndarray) -> np.ndarray:
    """The Catmull-Rom spline through the points, with eight points per interval."""
    before, after = np.vstack([points[:1], points[:-1]]), np.vstack([points[1:], points[-1:]])
    slopes = (after - before) / 2
    t = np.linspace(0, 1, 8, endpoint=False)[:, None, None]
    start, end, leave, arrive = points[:-1], points[1:], slopes[:-1], slopes[1:]
    cubic = (2 * t**3 - 3 * t**2 + 1) * start + (t**3 - 2 * t**2 + t) * leave
    cubic = cubic + (3 * t**2 - 2 * t**3) * end + (t**3 - t**2) * arrive
    return np.vstack([cubic.transpose(1, 0, 2).reshape(-1, 2), points[-1:]])


def distance(stroke: np.ndarray, side: int, square: bool, reach: float) -> np.ndarray:
    """float [side, side]: each pixel's distance to the stroke, in sides of the picture. For a square nib, it is the
    maximum of both coordinates. Infinite beyond about ``reach``, which saves most of the work."""
    centres = (np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1) + 0.5) / side
    nearest = np.full((side, side), np.inf)
    for start, end in pairwise(stroke):
        left, top = (np.floor((np.minimum(start, end) - reach) * side).astype(int)).clip(0)
        right, bottom = (np.ceil((np.maximum(start, end) + reach) * side).astype(int)).clip(0)
        near, along = centres[top:bottom, left:right], end - start
        share = ((near - start) @ along / max(float(along @ along), 1e-9)).clip(0, 1)
        offset = np.abs(near - start - share[..., None] * along)
        found = offset.max(axis=-1) if square else np.hypot(offset[..., 0], offset[..., 1])
        nearest[top:bottom, left:right] = np.minimum(nearest[top:bottom, left:right], found)
    return nearest


def drawing(index: int) -> Image.Image:
    """Drawing ``index`` of the digit ``index % 10``: mode L, square."""
    rng = np.random.default_rng((SEED, index))
    traces = TRACES[index % 10]
    strokes = _trace(traces[index // 10 % len(traces)])
    side = int(rng.choice(SIDES))
    width = max(np.exp(rng.uniform(*np.log(PENS))), 1.2 / side)
    height = rng.uniform(0.45, 0.9) - width / 2
    if width > 0.1:  # a broad pen would fill the loops of a small 8
        height = max(height, 0.72)
    skew = np.array([[rng.uniform(0.65, 1.0), rng.normal(0, 0.12)], [rng.normal(0, 0.06), 1.0]])
    centre = 0.5 + rng.uniform(-1, 1, 2) * max(0.0, 0.9 - height - width) / 2
    square, rough = rng.random() < 0.25, rng.random() < 0.3
    moved = [(s - 0.5 + rng.normal(0, 0.008, s.shape)) @ skew.T * height + centre for s in strokes]
    distances = [distance(stroke, side, square, width / 2 + 1 / side) for stroke in moved]
    ink = ((width / 2 - np.minimum.reduce(distances)) * side + 0.5).clip(0, 1)
    if rough:  # the grain of paper under pencil or chalk
        ink = ink * rng.uniform(0.45, 1.0, ink.shape)
    return _shown(ink, rng)


def _shown(ink: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """The ink on paper, a board or a screen. A third of the pictures is compressed as JPEG, like those of phones."""
    papers = ((255, 0), (248, 40), (235, 90), (200, 60), (0, 255), (40, 220), (70, 150))
    paper, pen = papers[rng.integers(len(papers))]
    rows, columns = (np.linspace(-0.5, 0.5, count) for count in ink.shape)
    fall = rng.uniform(-45, 45, 2) * (rng.random() < 0.5)
    levels = paper + (pen - paper) * ink + fall[0] * rows[:, None] + fall[1] * columns
    picture = Image.fromarray((levels + rng.normal(0, rng.uniform(0, 5), ink.shape)).clip(0, 255).astype(np.uint8))
    if rng.random() < 1 / 3:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=int(rng.integers(40, 90)))
        return Image.open(file).convert("L")
    return picture
