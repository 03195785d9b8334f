"""``python -m bench.lengths``: compares real sentences with padding to 128 tokens, and runs many requests of mixed
lengths.

The comparison shows the gain without padding. The run of mixed lengths shows whether a runtime still specialises or
compiles for new lengths after its warm-up. Such requests are slow in the first run and fast in the second. A request
that is slow in both runs was slowed by the machine. Settings come from the environment: MODELS, VARIANTS, DEVICE,
WEIGHTS, MIXED, OUT.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.load import build, load
from bench.plan import Cell, inputs
from export.catalog import CatalogError, Row
from export.device import DeviceError
from export.errors import CheckpointError
from export.options import read_options
from export.own_store import NotBuiltError
from export.parity import Parity
from export.progress import table
from export.quiet import quieten
from handlers.settings import Settings
from handlers.text import TextEncoder
from loadtest.load.payloads import sentences
from loadtest.measure.provenance import machine
from loadtest.stats import percentile

PADDED = 128
REQUESTS = 5000  # of mixed lengths, unless MIXED says otherwise
LONGEST = 200
BUCKET = 16  # tokens; a request is compared with the median of the requests of similar length
SLOW = 3.0  # a request above this multiple of its bucket's median is slow
ROUNDS = 3
HEADER = (
    "archive", "mean tokens", "real p50 ms", "at 128 p50 ms", "ratio", "mixed", "over 3x", "worst", "again over 3x",
    "worst", "parity",
)  # fmt: skip


def main() -> int:
    """Returns the exit status."""
    try:
        options = read_options(os.environ, ["minilm"], variants=None)
        refused = build(options)
    except (CatalogError, DeviceError, CheckpointError) as error:
        print(error, file=sys.stderr)
        return 2
    except NotBuiltError as error:
        return error.status
    quieten()
    found = []
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        for row in [row for row in options.rows if row.name not in refused]:
            print(f"measuring {row.name}", file=sys.stderr, flush=True)
            found.append(measure(row, load(row, Path(scratch), options.device), Path(scratch, row.name)))
    print(table(HEADER, [_shown(row) for row in found]))
    if out := os.environ.get("OUT"):
        Path(out).write_text(json.dumps({"environment": machine(), "rows": found}, indent=1) + "\n")
    return 0


def _shown(row: dict[str, Any]) -> tuple[str, ...]:
    """One line of the table."""
    stamp = " (random weights)" if row["weights"] == "random weights" else ""
    numbers = [str(value) for key, value in row.items() if key not in ("archive", "weights", "parity")]
    return (row["archive"] + stamp, *numbers, Parity.from_record(row["parity"]).summary())


def measure(row: Row, loaded: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One row of results: real sentences one by one, the same sentences padded, and mixed lengths."""
    runtime, settings = loaded["runtime"], loaded["settings"]
    encoder = TextEncoder(folder / "tokenizer.json", settings.text.max_length, settings.text.pad_id)
    real = [_inputs(encoder, text, settings) for text in sentences()]
    padded = [_padded(each) for each in real if each[0].shape[1] <= PADDED]
    for each in (real[0], real[-1], padded[0]) * 3:
        runtime(*each)
    times: dict[str, list[float]] = {"real": [], "padded": []}
    for _ in range(ROUNDS):  # alternating, so that changes of the machine's speed affect both
        times["real"] += [_time(runtime, each) for each in real]
        times["padded"] += [_time(runtime, each) for each in padded]
    count = int(os.environ.get("MIXED") or REQUESTS)
    (slow, worst), (slow_again, worst_again) = (mixed(runtime, settings, count) for _ in range(2))
    tokens = float(np.mean([each[0].shape[1] for each in real]))
    return {
        "archive": row.name, "mean_tokens": round(tokens, 1), "real_p50_ms": round(percentile(times["real"], 50), 3),
        "padded_p50_ms": round(percentile(times["padded"], 50), 3),
        "ratio": round(float(np.mean(times["padded"]) / np.mean(times["real"])), 2), "mixed": count, "slow": slow,
        "worst": round(worst, 1), "slow_again": slow_again, "worst_again": round(worst_again, 1),
        "weights": settings.weights, "parity": loaded["parity"],
    }  # fmt: skip


def _inputs(encoder: TextEncoder, text: str, settings: Settings) -> tuple[np.ndarray, ...]:
    tokens = encoder.encode([text])
    return tuple(getattr(tokens, each.name, np.array([1])) for each in settings.inputs)


def _padded(inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    return tuple(np.pad(e, ((0, 0), (0, PADDED - e.shape[1]))) if e.ndim == 2 else e for e in inputs)


def _time(runtime: Any, inputs: tuple[np.ndarray, ...]) -> float:
    started = time.perf_counter()
    runtime(*inputs)
    return (time.perf_counter() - started) * 1e3


def mixed(runtime: Any, settings: Settings, count: int) -> tuple[int, float]:
    """(number of slow requests, largest ratio of a request's time to its bucket's median), for seeded random
    lengths."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(4, LONGEST, count)
    taken = np.empty(count)
    for index, length in enumerate(lengths):
        taken[index] = _time(runtime, inputs(settings, Cell(1, int(length))))
    buckets = lengths // BUCKET
    medians = np.array([np.median(taken[buckets == bucket]) for bucket in range(buckets.max() + 1)])
    ratios = taken / medians[buckets]
    return int((ratios > SLOW).sum()), float(ratios.max())


if __name__ == "__main__":
    sys.exit(main())
