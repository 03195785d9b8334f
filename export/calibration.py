"""The calibration data of int8: real sentences and real images. None of them is a case of the parity check.

The sentences are the descriptions of scikit-learn's data sets; the images are the training part of its digits, or crops
of its photographs.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from export.steps.draft import Draft

SENTENCES = 128
IMAGES = 128


def sentences() -> list[str]:
    """English sentences of 20 to 400 characters."""
    from sklearn import datasets

    loaders = ("iris", "wine", "breast_cancer", "diabetes", "linnerud", "digits")
    text = " ".join(getattr(datasets, f"load_{name}")().DESCR for name in loaders)
    parts = re.split(r"(?<=[.!?])\s+", re.sub(r"\s+", " ", text))
    return [part for part in parts if 20 <= len(part) <= 400][:SENTENCES]


def text_batches(draft: Draft) -> list[tuple[Any, ...]]:
    """One batch of input tensors per sentence, in the form that the draft's module takes."""
    import torch

    from handlers.text import TextEncoder

    text = draft.checkpoint.text_input
    encoder = TextEncoder(draft.checkpoint.directory / "tokenizer.json", text.max_length, text.pad_id)
    batches = []
    for sentence in sentences():
        tokens = encoder.encode([sentence])
        batches.append(tuple(
            torch.from_numpy(getattr(tokens, each.name)) if hasattr(tokens, each.name) else torch.tensor([1])
            for each in draft.inputs
        ))  # fmt: skip
    return batches


def image_batches(draft: Draft) -> list[np.ndarray]:
    """uint8 [1, height, width, 3], one per image."""
    image = draft.checkpoint.image_input
    if image.preparation["kind"] == "digit":
        from export.digits import pixels, split

        train, _, _, _ = split()
        return [image[None] for image in pixels(train[:IMAGES])]
    return _photo_crops(image.height, image.width)


def _photo_crops(height: int, width: int) -> list[np.ndarray]:
    """Square crops of two photographs, of many sizes and positions, scaled to ``height`` x ``width``."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    generator = np.random.default_rng(0)
    photographs = [Image.fromarray(image) for image in load_sample_images().images]
    crops = []
    for index in range(IMAGES):
        photograph = photographs[index % len(photographs)]
        size = int(generator.integers(min(height, width) // 2, min(photograph.size)))
        left, top = (int(generator.integers(0, extent - size + 1)) for extent in photograph.size)
        crop = photograph.crop((left, top, left + size, top + size)).resize((width, height), Image.Resampling.BILINEAR)
        crops.append(np.asarray(crop)[None])
    return crops
