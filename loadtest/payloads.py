"""Bodies to send: real sentences, real photographs in several sizes, handwritten digits.

Which of them a model takes follows from its row in the catalog. What a right answer looks like is golden.py's business.
"""

from __future__ import annotations

import importlib.util
import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from export.catalog import Model
from export.tasks import TASKS
from loadtest.errors import LoadTestError

DATA = Path(__file__).with_name("data")
LONG_SIDES = (256, 512, 640)
SHARES_OF_HEIGHT = (1.0, 0.7)
JPEG_QUALITIES = (85, 95)


@dataclass(frozen=True)
class Payload:
    """A request body; ``name`` identifies it in logs and golden answers, since bodies are not printed."""

    name: str
    body: bytes
    content_type: str


def payloads(model: Model) -> tuple[Payload, ...]:
    """What ``model`` is asked, to be sent in rotation: sentences as its task asks them, photographs, or drawn digits
    for the model that reads those."""
    if model.kind == "image":
        return _digits() if model.source.kind == "trained" else _photographs()
    return _texts(model.task)


def sentences() -> list[str]:
    """The shipped sentences, in their order."""
    return (DATA / "sentences.txt").read_text(encoding="utf-8").splitlines()


@lru_cache
def _texts(task: str) -> tuple[Payload, ...]:
    made = [TASKS[task].traffic(sentence) for sentence in sentences()]
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


def _jpeg(image: object, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)  # type: ignore[attr-defined]
    return buffer.getvalue()


def _sample_photographs() -> list[Path]:
    spec = importlib.util.find_spec("sklearn")  # found, not imported: importing it takes a second
    if spec is None or not spec.submodule_search_locations:
        raise LoadTestError("The photographs are scikit-learn's; run: pip install scikit-learn")
    folder = Path(next(iter(spec.submodule_search_locations))) / "datasets" / "images"
    return [folder / "china.jpg", folder / "flower.jpg"]
