"""``make bench``: builds archives, loads each as a worker does, measures them, and prints and writes the results.

Settings come from the environment: MODELS, VARIANTS, DEVICE, WEIGHTS, BATCHES, LENGTHS, BENCH_SECONDS. OUT is the JSON
file of the results; Markdown and plots are written beside it. A variant that is not packed is shown as refused. During
the run, the results are in OUT's ``.part.json``, so that an interrupted run keeps them.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import report
from bench.load import build, load
from bench.measure import as_array, cpu_gflops, gpu_rates, interleaved
from bench.plan import Cell, Plan, cells, inputs, operations, read_plan
from export.catalog import CatalogError, Row
from export.device import DeviceError
from export.errors import CheckpointError
from export.own_store import ROOT, NotBuiltError
from export.quiet import quieten
from loadtest.errors import LoadTestError
from loadtest.measure import result_file
from loadtest.measure.provenance import machine
from loadtest.stats import percentile


def main() -> int:
    """Returns the exit status."""
    try:
        plan = read_plan(os.environ)
        named = ROOT / "bench" / "results" / f"bench-{plan.options.device}.json"
        out = result_file.chosen(os.environ, named, report.BESIDE)
        refused = build(plan.options)
    except (CatalogError, DeviceError, CheckpointError, LoadTestError) as error:
        print(error, file=sys.stderr)
        return 2
    except NotBuiltError as error:
        return error.status
    if missing := [name for name in refused if name.endswith("-eager")]:
        print(f"Nothing was measured: every variant is compared with {missing[0]}.", file=sys.stderr)
        return 1
    quieten()
    result: dict[str, Any] = {"environment": _environment(plan), "rows": [], "refused": _refused(plan, refused)}
    for rows in _measure([row for row in plan.options.rows if row.name not in refused], plan):
        result["rows"] += rows
        report.save(result, result_file.partial(out))
    print("\n".join([report.table(result), *report.own_handlers(result)]))
    report.write(result, out)
    result_file.partial(out).unlink()
    print(f"\nWritten: {out}, with .md and .svg beside it")
    return 0


def _refused(plan: Plan, reasons: dict[str, str]) -> list[dict[str, str]]:
    return [
        {"model": row.model.name, "variant": row.variant.name, "reason": reasons[row.name]}
        for row in plan.options.rows
        if row.name in reasons
    ]


def _environment(plan: Plan) -> dict[str, Any]:
    import torch

    facts = machine()
    names = ("MODELS", "VARIANTS", "DEVICE", "WEIGHTS", "BATCHES", "LENGTHS", "BENCH_SECONDS")
    given = [f"{name}={shlex.quote(os.environ[name])}" for name in names if os.environ.get(name)]
    facts |= {"command": " ".join(["make bench", *given]), "device": plan.options.device}
    facts["flags"] = {
        "cuda_matmul_allow_tf32": torch.backends.cuda.matmul.allow_tf32,
        "cudnn_allow_tf32": torch.backends.cudnn.allow_tf32,
    }
    on_gpu = plan.options.device == "gpu"
    facts["roofline"] = gpu_rates() if on_gpu else {"fp32_gflops": cpu_gflops(facts["cores_available"])}
    return facts


def _measure(chosen: list[Row], plan: Plan) -> Iterator[list[dict[str, Any]]]:
    """Measures the cells, and yields the rows of each."""
    for name in dict.fromkeys(row.model.name for row in chosen):
        rows = [row for row in chosen if row.model.name == name]
        with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
            loaded = {row.variant.name: load(row, Path(scratch), plan.options.device) for row in rows}
            for cell in cells(next(iter(loaded.values()))["settings"], plan):
                yield _cell(rows, cell, loaded, plan)


def _cell(rows: list[Row], cell: Cell, loaded: dict[str, Any], plan: Plan) -> list[dict[str, Any]]:
    name = rows[0].model.name
    calls = {}
    for row in rows:
        runtime, batch = loaded[row.variant.name]["runtime"], inputs(loaded[row.variant.name]["settings"], cell)
        calls[row.variant.name] = lambda runtime=runtime, batch=batch: runtime(*batch)
    where = f"{name} batch {cell.batch}" + (f" length {cell.length}" if cell.length else "")
    times = interleaved(calls, plan.seconds, report.Ticker(where))
    eager = percentile(as_array(times["eager"]), 50)
    return [_row(row, cell, as_array(times[row.variant.name]), eager, loaded[row.variant.name], plan) for row in rows]


def _row(row: Row, cell: Cell, times: Any, eager: float, loaded: dict[str, Any], plan: Plan) -> dict[str, Any]:
    p50, work = percentile(times, 50), operations(row.model.name, cell)
    return {
        "model": row.model.name, "variant": row.variant.name, "device": plan.options.device, "batch": cell.batch,
        "length": cell.length, "p50_ms": round(p50, 4), "p99_ms": round(percentile(times, 99), 4), "calls": len(times),
        "items_per_s": round(cell.batch / p50 * 1e3, 1), "speedup": round(eager / p50, 3),
        "gflops": round(work / p50 / 1e6, 1) if work else None,
        "weights": loaded["settings"].weights, "parity": loaded["parity"], "own_handler": loaded["handler"],
        **{key: loaded[key] for key in ("load_s", "memory_mb", "archive_mb")},
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
