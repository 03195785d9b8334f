"""Handwritten digits for training: the path of a pen, in the usual variants of each digit.

A path is a list of strokes. A stroke is float [points, 2], x to the right and y down. A digit is about one unit high.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np

Path = list[np.ndarray]
STEPS = 24  # points of an arc or a curve


def _arc(centre: tuple[float, float], radii: tuple[float, float], start: float, turn: float) -> np.ndarray:
    """An elliptic arc from the angle ``start`` by ``turn`` degrees; 0 is right, 90 is down."""
    angles = np.radians(np.linspace(start, start + turn, STEPS))
    return np.stack([centre[0] + radii[0] * np.cos(angles), centre[1] + radii[1] * np.sin(angles)], axis=1)


def _line(*points: tuple[float, float]) -> np.ndarray:
    return np.array(points, dtype=float)


def _bend(start: tuple[float, float], control: tuple[float, float], end: tuple[float, float]) -> np.ndarray:
    """A quadratic Bézier curve."""
    t = np.linspace(0, 1, STEPS)[:, None]
    curve: np.ndarray = (1 - t) ** 2 * np.array(start) + 2 * t * (1 - t) * np.array(control) + t**2 * np.array(end)
    return curve


def _zero(rng: np.random.Generator) -> Path:
    width, turn = rng.uniform(0.22, 0.48), rng.uniform(345, 400) * rng.choice([-1, 1])
    outline = _arc((0.5, 0.5), (width, 0.5), rng.uniform(-150, -30), turn)
    slashed = rng.random() < 0.06
    return [outline, _line((0.5 + width * 0.7, 0.2), (0.5 - width * 0.7, 0.8))] if slashed else [outline]


def _one(rng: np.random.Generator) -> Path:
    flag, base = rng.choice([0.0, 0.0, 1.0, 1.0, 1.0]), rng.random() < 0.3
    stem = [(0.5, 0.0), (0.5 + rng.uniform(-0.03, 0.03), 1.0)]
    if flag:
        stem.insert(0, (0.5 - rng.uniform(0.1, 0.4), rng.uniform(0.08, 0.38)))
    foot = rng.uniform(0.12, 0.3)
    return [_line(*stem)] + ([_line((0.5 - foot, 1.0), (0.5 + foot, 1.0))] if base else [])


def _two(rng: np.random.Generator) -> Path:
    radius, end = rng.uniform(0.22, 0.36), rng.uniform(0.75, 1.0)
    top = _arc((0.5, 0.28), (radius, 0.28), rng.uniform(170, 215), rng.uniform(150, 200))
    corner = (rng.uniform(0.1, 0.25), rng.uniform(0.92, 1.0))
    down = _bend(tuple(top[-1]), (0.5 + rng.uniform(-0.05, 0.3), rng.uniform(0.5, 0.7)), corner)
    if rng.random() < 0.3:  # with a loop
        size = rng.uniform(0.06, 0.14)
        loop = _arc((corner[0] + size * 0.4, corner[1] - size), (size, size), 100, 290)
        return [np.concatenate([top, down, loop, _bend(tuple(loop[-1]), (0.55, 0.85), (end, 1.0))])]
    base = _bend(corner, (0.5, rng.uniform(0.85, 1.05)), (end, rng.uniform(0.88, 1.03)))
    return [np.concatenate([top, down, base])]


def _three(rng: np.random.Generator) -> Path:
    waist, upper, lower = rng.uniform(0.4, 0.52), rng.uniform(0.2, 0.34), rng.uniform(0.26, 0.4)
    middle = (rng.uniform(0.36, 0.55), waist)
    radius = (1 - waist) / 2
    bottom = _arc((0.45, waist + radius), (lower, radius), rng.uniform(-100, -70), rng.uniform(210, 265))
    if rng.random() < 0.3:  # with a flat top
        return [np.concatenate([_line((0.15, 0.0), (rng.uniform(0.65, 0.85), 0.0), middle), bottom])]
    top = _arc((0.45, waist / 2), (upper, waist / 2), rng.uniform(190, 235), rng.uniform(205, 250))
    return [np.concatenate([top, [middle], bottom])]


def _four(rng: np.random.Generator) -> Path:
    bar, stem = rng.uniform(0.5, 0.75), rng.uniform(0.55, 0.8)
    left, right = rng.uniform(0.05, 0.22), stem + rng.uniform(0.06, 0.3)
    kind = rng.random()
    if kind < 0.35:  # closed, in one stroke or two
        return [_line((right, bar), (left, bar), (stem, 0.0), (stem, 1.0))]
    start = (left + rng.uniform(0.0, 0.3), rng.uniform(0.0, 0.12))
    upright = _line((stem + rng.uniform(-0.04, 0.1), rng.uniform(0.0, 0.35)), (stem, 1.0))
    if kind < 0.6:  # open, with a round corner
        return [np.concatenate([_bend(start, (left - 0.05, bar), (left + 0.15, bar)), _line((right, bar))]), upright]
    return [_line(start, (left, bar), (right, bar + rng.uniform(-0.06, 0.03))), upright]


def _five(rng: np.random.Generator) -> Path:
    neck, left = rng.uniform(0.35, 0.5), rng.uniform(0.18, 0.32)
    radius = (1 - neck + 0.06) / 2
    bowl = _arc((0.45, 1 - radius), (rng.uniform(0.26, 0.42), radius), rng.uniform(-150, -110), rng.uniform(235, 290))
    hat = (rng.uniform(0.65, 0.9), rng.uniform(-0.05, 0.05))
    top = (left + rng.uniform(0.0, 0.1), 0.0)
    if rng.random() < 0.5:  # in one stroke
        return [np.concatenate([_line(hat, top, (left, neck)), bowl])]
    return [np.concatenate([_line(top, (left, neck)), bowl]), _line((top[0] + rng.uniform(-0.03, 0.06), 0.0), hat)]


def _six(rng: np.random.Generator) -> Path:
    height, width = rng.uniform(0.2, 0.32), rng.uniform(0.22, 0.38)
    turn = rng.uniform(330, 400)
    bowl = _arc((0.48, 1 - height), (width, height), 180, -turn)
    start = (rng.uniform(0.45, 0.85), rng.uniform(0.0, 0.08))
    stem = _bend(start, (0.48 - width * rng.uniform(0.5, 1.15), rng.uniform(0.15, 0.45)), tuple(bowl[0]))
    return [np.concatenate([stem, bowl])]


def _seven(rng: np.random.Generator) -> Path:
    left, right = rng.uniform(0.05, 0.25), rng.uniform(0.7, 0.95)
    foot = (rng.uniform(0.2, 0.5), 1.0)
    top = [(left, rng.uniform(-0.03, 0.06)), (right, rng.uniform(-0.02, 0.04))]
    if rng.random() < 0.25:  # with a serif
        top.insert(0, (left + rng.uniform(-0.03, 0.02), rng.uniform(0.1, 0.25)))
    corner = np.array(top[-1])
    middle = (corner + foot) / 2 + [rng.choice([0.0, rng.uniform(-0.18, 0.06)]), 0.0]
    path = [np.concatenate([_line(*top), _bend(tuple(corner), tuple(middle), foot)])]
    if rng.random() < 0.4:  # with a bar
        at, reach = rng.uniform(0.42, 0.6), rng.uniform(0.12, 0.25)
        x = corner[0] + (foot[0] - corner[0]) * at
        path.append(_line((x - reach, at + rng.uniform(-0.02, 0.06)), (x + reach, at + rng.uniform(-0.06, 0.02))))
    return path


def _eight(rng: np.random.Generator) -> Path:
    waist, upper, lower = rng.uniform(0.4, 0.52), rng.uniform(0.18, 0.3), rng.uniform(0.24, 0.38)
    small, large = waist / 2, (1 - waist) / 2
    if rng.random() < 0.4:  # two rings
        turns = rng.uniform(345, 385, 2)
        lower_ring = _arc((0.5, 1 - large), (lower, large), -90, turns[1])
        return [_arc((0.5, small), (upper, small), 90, turns[0]), lower_ring]
    start = rng.uniform(-70, -20)  # one stroke that crosses itself
    parts = [
        _arc((0.5, small), (upper, small), start, -(180 + start - 60) - 90),
        _arc((0.5, 1 - large), (lower, large), -60, 300),
        _arc((0.5, small), (upper, small), 120, -(120 - start) + rng.uniform(-5, 25)),
    ]
    return [np.concatenate(parts)]


def _nine(rng: np.random.Generator) -> Path:
    height, width = rng.uniform(0.2, 0.3), rng.uniform(0.2, 0.34)
    loop = _arc((0.48, height), (width, height), rng.uniform(-60, 0), -rng.uniform(320, 360))
    side = (0.48 + width, height * rng.uniform(0.6, 1.1))
    foot = (0.48 + width * rng.uniform(-0.3, 1.0), 1.0)
    kind = rng.random()
    if kind < 0.5:  # a straight stem
        return [np.concatenate([loop, _line(side, foot)])]
    if kind < 0.8:  # a curved stem
        return [np.concatenate([loop, _bend(side, (side[0], rng.uniform(0.6, 0.9)), foot)])]
    hook = _arc((0.48, 1 - height), (width, height), 0, rng.uniform(110, 170))
    return [np.concatenate([loop, [side], hook])]


WRITERS: tuple[Callable[[np.random.Generator], Path], ...] = (
    _zero, _one, _two, _three, _four, _five, _six, _seven, _eight, _nine,
)  # fmt: skip


def _tremble(stroke: np.ndarray, amount: float, phases: np.ndarray) -> np.ndarray:
    """The stroke with a smooth tremor: two slow waves in each direction."""
    x, y = stroke.T
    wave = np.stack([np.sin(5 * y + phases[0]) + np.sin(9 * x + phases[1]),
                     np.sin(5 * x + phases[2]) + np.sin(9 * y + phases[3])], axis=1)  # fmt: skip
    return stroke + amount * wave


def _dense(stroke: np.ndarray) -> np.ndarray:
    """The stroke with at least one point per 0.1 units, so that a tremor bends its straight parts as well."""
    parts = []
    for start, end in pairwise(stroke):
        count = max(1, math.ceil(float(np.hypot(*(end - start))) * 10))
        parts.append(start + (end - start) * np.linspace(0, 1, count, endpoint=False)[:, None])
    return np.concatenate([*parts, stroke[-1:]])


def write(digit: int, rng: np.random.Generator) -> Path:
    """``digit`` in random handwriting: a variant of its shape, with random slant, proportions and tremor."""
    slant, stretch, turn = rng.normal(0, 0.13), rng.uniform(0.7, 1.2), rng.normal(0, 0.09)
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    matrix = rotation @ np.array([[stretch, -slant], [0.0, 1.0]])
    amount, phases = abs(rng.normal(0, 0.012)), rng.uniform(0, 2 * math.pi, 4)
    return [_tremble(_dense(stroke) - 0.5, amount, phases) @ matrix.T for stroke in WRITERS[digit](rng)]
