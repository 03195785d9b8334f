"""Bodies to send: real sentences, real photographs in several sizes, handwritten digits.

A model's row in the catalog decides which of them it gets. golden.py checks the answers.
"""

from __future__ import annotations

import importlib.util
import io
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from export.catalog import Model
from export.tasks import TASKS, Request
from loadtest.errors import LoadTestError

if TYPE_CHECKING:
    from PIL import Image

DATA = Path(__file__).resolve().parents[1] / "data"
LONG_SIDES = (256, 512, 640)
SHARES_OF_HEIGHT = (1.0, 0.7)
JPEG_QUALITIES = (85, 95)
TOKENS_PER_WORD = 1.227  # of the sentences, by BERT's uncased vocabulary
MOST_TOKENS = 16_384  # a text of more would pass the 100,000 characters that a request may have
STEP = 1.2  # sizes are rounded to its powers, so that a trace has some dozens of different texts and not thousands
BEGINNING = 16  # words


@dataclass(frozen=True)
class Payload:
    """A request body. ``name`` identifies it in logs and golden answers, since bodies are not printed."""

    name: str
    body: bytes
    content_type: str


def payloads(model: Model) -> tuple[Payload, ...]:
    """The payloads of ``model``, to be sent in rotation: sentences in the form of its task, photographs, or drawn
    digits for the digits model."""
    if model.kind == "image":
        return _digits() if model.source.kind == "trained" else _photographs()
    return _texts(model.task)


def sentences() -> list[str]:
    """The shipped sentences, in their order."""
    return (DATA / "sentences.txt").read_text(encoding="utf-8").splitlines()


def sized(model: Model, tokens: np.ndarray) -> tuple[tuple[Payload, ...], list[int] | None]:
    """(payloads, the index of each request's payload): each text has about the request's number of tokens, within a
    tenth.

    An image model gets its payloads in rotation, whatever the sizes. The index is then None.
    """
    if model.kind == "image":
        return payloads(model), None
    steps = np.round(np.log(np.clip(tokens, 1, MOST_TOKENS)) / np.log(STEP)).astype(int)
    sizes, order = np.unique(np.round(STEP**steps).astype(int), return_inverse=True)
    return tuple(_text(model.task, int(size)) for size in sizes), order.ravel().tolist()


def _text(task: str, tokens: int) -> Payload:
    """The sentences one after the other, cut at the size. A mask is at the beginning, where no limit cuts it off."""
    words = [word for sentence in sentences() for word in sentence.split()]
    count = max(1, round(tokens / TOKENS_PER_WORD))
    text = [words[index % len(words)] for index in range(count)]
    made = _request(task, " ".join(text))
    if made.content_type == "text/plain":
        begin = _request(task, " ".join(text[:BEGINNING])).body.decode()
        made = replace(made, body=" ".join([begin, *text[BEGINNING:]]).encode())
    return Payload(f"tokens-{tokens}", made.body, made.content_type)


def _request(task: str, sentence: str) -> Request:
    traffic = TASKS[task].traffic
    assert traffic is not None  # every task of texts has it
    return traffic(sentence)


@lru_cache
def _texts(task: str) -> tuple[Payload, ...]:
    made = [_request(task, sentence) for sentence in sentences()]
    return tuple(Payload(f"sentence-{index:02d}", each.body, each.content_type) for index, each in enumerate(made))


@lru_cache(maxsize=1)
def _digits() -> tuple[Payload, ...]:
    return tuple(Payload(path.stem, path.read_bytes(), "image/png") for path in sorted((DATA / "digits").glob("*.png")))


@lru_cache(maxsize=1)
def _photographs() -> tuple[Payload, ...]:
    """JPEG files of scikit-learn's two photographs: three sizes, two shapes, two qualities, 10 to 90 kB."""
    from PIL import Image

    made = []
    for path in _sample_photographs():
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        for long_side in LONG_SIDES:
            for share, quality in zip(SHARES_OF_HEIGHT, JPEG_QUALITIES, strict=True):
                view = image.crop((0, 0, image.width, round(image.height * share)))
                view.thumbnail((long_side, long_side))
                name = f"{path.stem}-{view.width}x{view.height}-q{quality}"
                made.append(Payload(name, _jpeg(view, quality), "image/jpeg"))
    return tuple(made)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _sample_photographs() -> list[Path]:
    spec = importlib.util.find_spec("sklearn")  # found, not imported: importing it takes a second
    if spec is None or not spec.submodule_search_locations:
        raise LoadTestError("The photographs are scikit-learn's; run: pip install scikit-learn")
    folder = Path(next(iter(spec.submodule_search_locations))) / "datasets" / "images"
    return [folder / "china.jpg", folder / "flower.jpg"]
