"""``python -m export.digits.accuracy``: the share of held-out digits that the model reads, by kind.

Trains the model where its weights are not cached. ``COUNT`` pictures of print and drawings are made (1,000 by default);
exit status 1 when a kind is below ``TARGET``.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from export.catalog import model
from export.digits.training import accuracies
from export.weights import Choice, write_checkpoint
from handlers.architectures import load_eager

TARGET = 0.98


def main() -> int:
    given = os.environ.get("COUNT") or "1000"
    if not given.isdigit() or not int(given):
        print(f"COUNT is {given!r}; give a whole number of pictures from 1, such as COUNT=1000.", file=sys.stderr)
        return 2
    row = model("digits")
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = write_checkpoint(row, Choice(), Path(folder), print)
        network = load_eager(row.task, checkpoint.directory, checkpoint.settings)
        shares = accuracies(network, int(given))
    for kind, (share, count) in shares.items():
        print(f"{kind:10} {share:.2%} of {count:,}")
    return 0 if all(share >= TARGET for share, _ in shares.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
