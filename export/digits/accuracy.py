"""``python -m export.digits.accuracy``: the share of held-out digits that the model reads, by kind, and its answer to
the sample ``seven.png``.

Trains the model if its weights are not cached. ``SEED=1`` trains it again with another seed. OMP_NUM_THREADS=1 or
ATEN_CPU_CAPABILITY=default in addition changes the weights as another processor would. ``COUNT`` is the number of
pictures of print and of drawings (1,000 by default). The exit status is 1 if a kind is below ``TARGET``.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from export.cases import SAMPLES
from export.catalog import model
from export.digits.data import LABELS, pixels
from export.digits.training import MEAN, STD, accuracies, train
from export.weights import Choice, write_checkpoint
from handlers.architectures import ImageModel
from handlers.networks import build_network

TARGET = 0.98


def main() -> int:
    """Prints the accuracy of each kind of picture. Returns 1 if one is below TARGET, 2 if COUNT or SEED is wrong."""
    count, seed = os.environ.get("COUNT") or "1000", os.environ.get("SEED") or ""
    if not count.isdigit() or not int(count) or (seed and not seed.isdigit()):
        print(f"COUNT={count} SEED={seed} must be whole numbers, as in COUNT=1000 SEED=1.", file=sys.stderr)
        return 2
    network = _trained(int(seed)) if seed else _built()
    shares = accuracies(network, int(count))
    for kind, (share, pictures) in shares.items():
        print(f"{kind:10} {share:.2%} of {pictures:,}")
    digit, score = _answer(network, (SAMPLES / "seven.png").read_bytes())
    print(f"seven.png  {digit} at {score:.3f}")
    return 0 if all(share >= TARGET for share, _ in shares.values()) else 1


def _built() -> Any:
    """The trained weights that the archives contain."""
    row = model("digits")
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(row, Choice(), Path(folder), print)
        network = build_network("torchvision", row.options["architecture"], len(LABELS), Path(folder))
        return ImageModel(network, MEAN, STD).eval()


def _trained(seed: int) -> Any:
    return ImageModel(train(seed=seed), MEAN, STD).eval()


def _answer(network: Any, png: bytes) -> tuple[str, float]:
    """The model's digit for a picture, and its probability."""
    import torch

    with torch.inference_mode():
        scores = network(torch.from_numpy(pixels([png])))[0].softmax(0)
    return LABELS[int(scores.argmax())], float(scores.max())


if __name__ == "__main__":
    sys.exit(main())
