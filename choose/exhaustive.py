"""``python -m choose.exhaustive``: measures every configuration of a small space, and how near a search of a quarter of
them comes to the best.

Measures digits in three variants with two settings each of workers, threads and batches (MODEL, VARIANTS, WORKERS,
THREADS, BATCHES and ROUNDS change that), all of them in turns, into OUT. Configurations that OUT already holds are not
measured again. Then it runs the search of make choose on that table, without a server, for SEEDS seeds (200).
TABLE_ONLY=1 skips the measuring.
"""

from __future__ import annotations

import locust  # noqa: F401 - first of all: Locust patches what the modules below import

# isort: split
import json
import os
import random
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from choose import candidates, own_server, request
from choose.__main__ import REFUSALS
from choose.candidates import STORE
from choose.measure import Bench, opener
from choose.outcome import Outcome
from choose.progress import Progress
from choose.request import Request
from choose.space import Configuration, Space
from choose.study import outcome_of
from choose.table import Table, in_words, simulate
from export.own_store import NotBuiltError
from loadtest.load import cores
from loadtest.measure import provenance
from loadtest.measure.turns import interleaved
from serving.environment import usable_cores

SMALL = {"MODEL": "digits", "VARIANTS": "torchscript onnx openvino", "WORKERS": "1,2", "THREADS": "1,2",
         "BATCHES": "1,8"}  # fmt: skip
OUT = Path(__file__).with_name("results") / "exhaustive.json"
SEEDS = 200


def read(path: Path) -> dict[str, list[dict[str, Any]]]:
    """{configuration's key: outcomes} of an earlier run; {} without one."""
    try:
        return {row["key"]: row["outcomes"] for row in json.loads(path.read_text(encoding="utf-8"))["rows"]}
    except FileNotFoundError:
        return {}


def _measure(asked: Request, space: Space, split: cores.Split, path: Path, facts: dict[str, Any]) -> None:
    bench, kept = Bench(asked, opener(space.model, STORE, split)), read(path)
    order = list(space.all())
    random.Random(asked.seed).shuffle(order)
    left = [(number, each) for number, each in interleaved(order, asked.rounds) if len(kept.get(each.key, [])) < number]
    progress = Progress(len(left), lambda: 0.0, lambda: "")
    for done, (number, each) in enumerate(left):
        progress.say(f"[{done + 1}/{len(left)}] round {number}: {each}")
        kept.setdefault(each.key, []).append(asdict(bench.run(each, lambda point: None)))
        _write(path, asked, space, facts, kept)
    progress.close()


def _write(path: Path, asked: Request, space: Space, facts: dict[str, Any], kept: dict[str, Any], **more: Any) -> None:
    table = Table(asked, space, _outcomes(space, kept))
    rows = [{"key": each.key, "configuration": asdict(each), "outcomes": kept[each.key], "score": table.score(each)}
            for each in table.outcomes]  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"environment": facts, "model": space.model, "space": space.stated(), "rows": rows, **more}
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def _outcomes(space: Space, kept: dict[str, Any]) -> dict[Configuration, list[Outcome]]:
    return {each: [outcome_of(one) for one in kept[each.key]] for each in space.all() if each.key in kept}


def main() -> int:
    """Measures, simulates and prints the result; returns the exit status."""
    variables = {**os.environ, **{name: os.environ.get(name) or value for name, value in SMALL.items()}}
    path, split = Path(os.environ.get("OUT") or OUT), cores.here()
    try:
        asked = request.read(variables)
        own_server.claim()
        space = candidates.find(asked, asked.models[0], variables, len(split.server) or usable_cores())
        facts = provenance.record(split) | {"command": "python -m choose.exhaustive"}
        if os.environ.get("TABLE_ONLY") != "1":
            own_server.make_way()
            _measure(asked, space, split, path, facts)
    except REFUSALS as error:
        print(error, file=sys.stderr)
        return 2
    except NotBuiltError as error:
        return error.status
    kept = read(path)
    result = simulate(Table(asked, space, _outcomes(space, kept)), int(os.environ.get("SEEDS") or SEEDS))
    _write(path, asked, space, facts, kept, search=result)
    print(in_words(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
