"""The pictures of the digits model, for training and held out: scikit-learn's scans, print and handwriting.

Each picture has its own seed, so that a set can be made in parts.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image

from export.cases import digit_png, encode
from export.digits import drawings, fonts, pages, strokes
from handlers.image import prepare

SEED = 0
SIZE, MARGIN = 32, 2
PREPARATION = {"kind": "digit", "size": SIZE, "margin": MARGIN}
LABELS = [str(digit) for digit in range(10)]
HELD_OUT = 60  # held-out pictures of each generated kind in ``split``
SAMPLED = 240  # training pictures of each generated kind in ``split``


class Pictures(NamedTuple):
    """PNG files and the digit that each shows."""

    pngs: list[bytes]
    labels: np.ndarray


@lru_cache(maxsize=1)
def scans() -> tuple[Pictures, Pictures]:
    """scikit-learn's digits: 1,437 for training, and a fixed stratified fifth held out, 360."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    train, held_out, train_labels, held_out_labels = train_test_split(
        data.images, data.target, test_size=0.2, random_state=SEED, stratify=data.target
    )
    return Pictures([digit_png(d) for d in train], train_labels), Pictures(
        [digit_png(d) for d in held_out], held_out_labels
    )


def printed(index: int, held_out: bool = False) -> Image.Image:
    """Picture ``index``, of the digit ``index % 10`` in print. Held-out pictures use other font families."""
    rng = np.random.default_rng((SEED, 1, int(held_out), index))
    return pages.page(pages.lean(fonts.typeset(index % 10, rng, held_out), rng), rng)


def written(index: int) -> Image.Image:
    """Picture ``index``, of the digit ``index % 10`` in handwriting."""
    rng = np.random.default_rng((SEED, 2, index))
    return pages.page(pages.ink(strokes.write(index % 10, rng), rng), rng)


def held_out(count: int = HELD_OUT) -> dict[str, Pictures]:
    """The held-out pictures by kind: a fifth of the scans, ``count`` pictures in other fonts and ``count`` drawings."""
    labels = np.arange(count) % 10
    return {
        "scans": scans()[1],
        "print": Pictures([encode(printed(i, held_out=True), "PNG") for i in range(count)], labels),
        "drawings": Pictures([encode(drawings.drawing(i), "PNG") for i in range(count)], labels),
    }


@lru_cache(maxsize=1)
def split() -> tuple[list[bytes], np.ndarray, list[bytes], np.ndarray]:
    """(training PNGs, labels, held-out PNGs, labels): a mixed sample of the training pictures, and all held-out
    pictures."""
    kinds = [scans()[0], *(_sample(make) for make in (printed, written))]
    pngs, labels = [png for kind in kinds for png in kind.pngs], np.concatenate([kind.labels for kind in kinds])
    order = np.random.default_rng(SEED).permutation(len(pngs))
    apart = list(held_out().values())
    return (
        [pngs[i] for i in order],
        labels[order],
        [png for kind in apart for png in kind.pngs],
        np.concatenate([kind.labels for kind in apart]),
    )


def _sample(make: Callable[[int], Image.Image]) -> Pictures:
    return Pictures([encode(make(i), "PNG") for i in range(SAMPLED)], np.arange(SAMPLED) % 10)


def pixels(pngs: list[bytes]) -> np.ndarray:
    """uint8 [N, 32, 32, 3]: the images as the handler prepares them."""
    return np.stack([prepare(Image.open(io.BytesIO(png)).convert("RGB"), PREPARATION) for png in pngs])
