"""``python -m choose.exhaustive``: measures every configuration of a small space, and computes which share of the
optimum a search reaches in a quarter of the trials.

Measures minilm in four variants with two settings each of workers, threads and batches (MODEL, VARIANTS, WORKERS,
THREADS, BATCHES, DURATION and ROUNDS change that), in turns, into OUT. Configurations of the same question that OUT
already has are not measured again. So the same command continues an interrupted run, and ROUNDS=2 after ROUNDS=1 adds a
round. Then the search of make choose runs on that table, without a server, for SEEDS seeds (200). TABLE_ONLY=1 skips
the measurement.
"""

from __future__ import annotations

import loadtest.patches  # noqa: F401 - first of all: it patches what the modules below import

# isort: split
import os
import random
import shlex
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from choose import candidates, own_server, request, table_file
from choose.__main__ import REFUSALS, end_on_signals
from choose.candidates import STORE
from choose.errors import ChooseError
from choose.measure import Bench, opener
from choose.progress import Progress
from choose.published import in_words
from choose.request import Request
from choose.space import Space
from choose.table import Table, simulate
from export.own_store import NotBuiltError
from loadtest.load import cores
from loadtest.measure import provenance, result_file
from loadtest.measure.turns import interleaved
from serving.environment import usable_cores

SMALL = {"MODEL": "minilm", "VARIANTS": "torchscript onnx openvino int8", "WORKERS": "1,2", "THREADS": "1,2",
         "BATCHES": "1,8", "ROUNDS": "1"}  # fmt: skip
OUT = Path(__file__).with_name("results") / "exhaustive.json"
SEEDS = 200
LIKELY_S = 20.0  # of one configuration, until one is measured


def _measure(asked: Request, space: Space, split: cores.Split, path: Path, facts: dict[str, Any]) -> None:
    kept = table_file.read(path, table_file.question(asked, space, facts))
    bench = Bench(asked, opener(space.model, STORE, split))
    order = list(space.all())
    random.Random(asked.seed).shuffle(order)
    left = [(number, each) for number, each in interleaved(order, asked.rounds) if len(kept.get(each.key, [])) < number]
    began, done = time.monotonic(), 0

    def left_s() -> float:
        each_s = (time.monotonic() - began) / done if done else LIKELY_S
        return each_s * (len(left) - done)

    progress = Progress(LIKELY_S * len(left), left_s)
    for done, (number, each) in enumerate(left):
        progress.say(f"[{done + 1}/{len(left)}] round {number}: {each}")
        kept.setdefault(each.key, []).append(asdict(bench.run(each, lambda point: None)))
        table_file.write(path, asked, space, facts, kept)
    progress.close()


def _command() -> str:
    names = (*SMALL, "OBJECTIVE", "SLO_P99_MS", "DURATION", "SEED", "SEEDS", "DEVICE")
    given = [f"{name}={shlex.quote(os.environ[name])}" for name in names if os.environ.get(name)]
    return " ".join([*given, "python -m choose.exhaustive"])


def _run() -> None:
    """Measures, simulates and prints the result. Raises the errors of REFUSALS, and NotBuiltError."""
    variables = {**os.environ, **{name: os.environ.get(name) or value for name, value in SMALL.items()}}
    path, split, asked = result_file.chosen(os.environ, OUT), cores.here(), request.read(variables)
    if asked.objective != "throughput":
        raise ChooseError(f"OBJECTIVE={asked.objective} has no table; leave it out: the table is of throughput.")
    own_server.claim()
    space = candidates.find(asked, asked.models[0], variables, len(split.server) or usable_cores())
    facts = provenance.record(split) | {"command": _command()}
    if os.environ.get("TABLE_ONLY") != "1":
        own_server.make_way()
        _measure(asked, space, split, path, facts)
    kept = table_file.read(path, table_file.question(asked, space, facts))
    if missing := sum(each.key not in kept for each in space.all()):
        raise ChooseError(f"{path} lacks {missing} configurations; measure them: leave TABLE_ONLY out.")
    result = simulate(Table(asked, space, table_file.outcomes(space, kept)), int(os.environ.get("SEEDS") or SEEDS))
    table_file.write(path, asked, space, facts, kept, search=result)
    print(f"{in_words(result)}\n\nWritten: {path}")


def main() -> int:
    """Returns the exit status: 0 measured, 2 the measurement could not run, 130 interrupted."""
    end_on_signals()
    try:
        _run()
    except REFUSALS as error:
        print(error, file=sys.stderr)
        return 2
    except NotBuiltError as error:
        return error.status
    except KeyboardInterrupt:
        print("\nInterrupted: every finished configuration is kept; the same command continues.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
