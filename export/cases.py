"""The cases of the parity check: fixed sentences and images, with lengths and shapes that clients send.

Knows no model. The photographs are scikit-learn's samples. The digits come from scikit-learn's data set.
"""

from __future__ import annotations

import io
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # not at run time: the catalog imports this module before anything is installed
    import numpy as np
    from PIL import Image

SAMPLES = Path(__file__).resolve().parent.parent / "handlers" / "samples"
PHOTOGRAPH = "handlers/samples/flower.jpg"  # a file of the checkout; the example of an image model that names none

SENTENCES = (
    "The cat sits on the mat.",
    "A cat is sitting on a rug.",
    "TorchServe answers with JSON.",
    "Stock markets fell sharply on Monday after weak data from China.",
    "x",
    "Ça coûte 12,50 € — déjà vu à l'hôtel Zürich?",
    "自然言語処理は面白い。",
    "I ❤️ pizza 🍕 and 👩‍👩‍👧‍👦!",
    "def main():\n    return {'answer': 42}",
    "Please   mind \t the \n gap.",
    "In 1969, Apollo 11 carried Neil Armstrong, Buzz Aldrin and Michael Collins towards the Moon, where two of them "
    "walked for two and a half hours and collected 21.5 kilograms of lunar material to bring back to Earth.",
    "word " * 120,
    "The quick brown fox jumps over the lazy dog. " * 90,  # beyond every model's limit
)

PAIRS = (
    ("What does TorchServe answer with?", "TorchServe answers with JSON."),
    ("Who walked on the Moon?", SENTENCES[10]),
    ("A man plays the guitar on stage.", "Nobody is playing an instrument."),
    ("x", "déjà vu"),
    ("The quick brown fox. " * 90, "It jumps over the lazy dog. " * 60),  # both are truncated
)

MASKED = (
    "Paris is the [MASK] of France.",
    "The [MASK] barked at the mailman all morning.",
    "[MASK]",
    "Déjà vu: the café served [MASK] and coffee.",
    "She poured the [MASK] into a tall glass, sat down by the window, and watched the rain for most of the afternoon.",
    "The server answers a [MASK] in less than one millisecond. " + "Then it waits for the next one. " * 12,
)


def photographs() -> list[bytes]:
    """JPEG and PNG files of real photographs: whole, cropped to wide and to tall shapes, and small."""
    from PIL import Image

    images = [
        Image.open(io.BytesIO(files("sklearn.datasets.images").joinpath(name).read_bytes())).convert("RGB")
        for name in ("china.jpg", "flower.jpg")
    ]
    china, flower = images
    views = [
        china,
        flower,
        china.crop((0, 100, 640, 280)),
        flower.crop((200, 0, 330, 427)),
        china.resize((96, 64)),
        flower.rotate(90, expand=True),
    ]
    return [encode(view, "JPEG" if index % 2 == 0 else "PNG") for index, view in enumerate(views)]


def encode(image: Image.Image, format: str) -> bytes:
    """The image's file bytes in ``format`` (JPEG at quality 90)."""
    buffer = io.BytesIO()
    image.save(buffer, format, **({"quality": 90} if format == "JPEG" else {}))
    return buffer.getvalue()


def digit_png(cells: np.ndarray) -> bytes:
    """PNG bytes of one digit of the data set: float [8, 8] in 0..16, drawn at 64 x 64 as dark ink on white."""
    import numpy as np
    from PIL import Image

    ink = np.clip(cells * 255 / 16, 0, 255).astype(np.uint8)
    return encode(Image.fromarray(255 - ink).resize((64, 64), Image.Resampling.NEAREST), "PNG")
