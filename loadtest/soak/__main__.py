"""The verb soak: good and bad requests to several archives of one server for a long time, and the server's growth.

Each archive gets its own open loop, all at once. Every 10th answer is checked. The server's processes and log files are
sampled throughout. verdict.py has the bounds. Settings come from the environment: DURATION (seconds, 1800), RATE (good
requests per second and archive, 10), MODELS, VARIANTS, SEED, OUT (a JSON file).

Exit status: 0 all bounds are kept and no request failed; 1 one is broken or a request failed; 2 the soak could not run.
"""

from __future__ import annotations

import loadtest.patches  # noqa: F401 - first of all: it patches what the modules below import

# isort: split
import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gevent

from export import catalog
from export.catalog import CatalogError, Row
from loadtest.errors import LoadTestError
from loadtest.load import cores
from loadtest.load.users import now_us
from loadtest.measure import provenance, result_file
from loadtest.measure.servers import Server, fresh
from loadtest.soak.footprint import Footprint, Sampler
from loadtest.soak.loads import SHARE_BAD, loads
from loadtest.soak.verdict import judge, table
from serving.choice import names
from serving.errors import ServingError

SAMPLES = 120  # samples of each process; at most one every half second
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Settings:
    """The settings. The first ``settle_s`` seconds of load are not counted, since memory pools fill during them."""

    seconds: float
    rate: float
    seed: int
    rows: tuple[Row, ...]
    out: Path

    @property
    def settle_s(self) -> float:
        """Seconds of load that are not counted: a third of all, and at most two minutes."""
        return min(120.0, self.seconds / 3)

    @classmethod
    def load(cls) -> Settings:
        """From the environment. Raises LoadTestError or CatalogError."""
        models = names(os.environ, "MODELS") or [name for name in catalog.DEFAULT_MODELS if name != "null"]
        variants = names(os.environ, "VARIANTS") or ["torchscript"]
        out = result_file.chosen(os.environ, ROOT / "loadtest" / "results" / "soak.json")
        return cls(
            _number("DURATION", 1800), _number("RATE", 10), int(_number("SEED", 1)),
            tuple(catalog.rows(models, variants, "cpu")), out,
        )  # fmt: skip


def _number(name: str, default: float) -> float:
    text = os.environ.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < math.inf:
        raise LoadTestError(f"{name}={text} is not a number greater than 0; write it as in {name}={default}.")
    return value


def soak(settings: Settings, server: Server) -> dict[str, Any]:
    """Loads and samples the server, and returns the findings."""
    every_s = max(0.5, settings.seconds / SAMPLES)
    span = settings.settle_s + settings.seconds
    running = loads(server, settings.rows, settings.rate, span, settings.seed)
    with Sampler(Footprint.of(server), every_s) as sampler:
        began = min(load.start() for load in running.values()) + round(settings.settle_s * 1e6)
        _wait(began, settings)
        for load in running.values():
            load.stop()
    rows = {name: [row for row in load.recorder.rows if row.sent_us >= began] for name, load in running.items()}
    samples = [each for each in sampler.samples if each.at_us >= began]
    return judge(rows, samples, began, settings.seconds)


def _wait(began: int, settings: Settings) -> None:
    """Waits until the counted time is over, and prints a line every tenth of it."""
    for part in range(1, 11):
        gevent.sleep(max(0.0, (began - now_us()) / 1e6 + settings.seconds * part / 10))
        print(f"  {settings.seconds * part / 10:6.0f} s of {settings.seconds:.0f}", file=sys.stderr, flush=True)


def record(settings: Settings, findings: dict[str, Any], split: cores.Split) -> None:
    """Writes the findings with the environment of the measurement."""
    machine = {**provenance.machine(), "pinning": split.statement}
    command = f"make soak DURATION={settings.seconds:g} RATE={settings.rate:g} SEED={settings.seed}"
    asked = {"seconds": settings.seconds, "settle_s": settings.settle_s, "good_per_s_and_archive": settings.rate,
             "bad_per_s_and_archive": settings.rate * SHARE_BAD}  # fmt: skip
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    content = {"command": command, "environment": machine, "load": asked, **findings}
    settings.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] = ()) -> int:
    """Runs the soak, prints and writes the findings, and returns the exit status."""
    try:
        settings, split = Settings.load(), cores.here()
        with fresh([row.name for row in settings.rows], split) as server, cores.on(split.client):
            findings = soak(settings, server)
        record(settings, findings, split)
    except (LoadTestError, CatalogError, ServingError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted; the server is stopped.", file=sys.stderr)
        return 130
    print(table(findings))
    return 1 if findings["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
