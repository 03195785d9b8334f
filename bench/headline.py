"""The README's headline tables: the best variant of each model compared with eager, in process and served.

Pure functions of published results of ``make bench`` and ``make loadtest``.
"""

from __future__ import annotations

from typing import Any

from loadtest.report.markdown_report import table

LENGTH = 128
NAMES = {"bert": f"BERT-base, {LENGTH} tokens", "resnet50": "ResNet-50"}
IN_PROCESS = ("model", "machine", "eager fp32", "best variant", "its parity with eager fp32")
SERVED = ("archive", "machine", "one client, p50", "many clients", "parity with eager fp32")


def headline(runs: list[dict[str, Any]], served: list[dict[str, Any]]) -> str:
    """Two tables in Markdown with captions: the results of the bench and of the load test."""
    in_process = [_in_process(run, model) for run in runs for model in NAMES]
    over_http = [_served(run, name) for run in served for name in run["archives"] if _shown(name)]
    return "\n".join([
        table(IN_PROCESS, in_process), "",
        f"In process, p50, batch 1, random weights; {_versions(runs)}: [commands](docs/variants.md#results).",
        "", table(SERVED, over_http), "",
        f"Over HTTP, one worker, `make loadtest`; {_versions(served)}: "
        "[CPU report](docs/results/loadtest-cpu.md), [H200 report](docs/results/loadtest-h200-graph.md).", "",
    ])  # fmt: skip


def at_batch_one(run: dict[str, Any], model: str) -> list[dict[str, Any]]:
    """The rows of a bench result for ``model`` at batch 1, and at 128 tokens for a text model."""
    return [
        row for row in run["rows"] if row["model"] == model and row["batch"] == 1 and row["length"] in (None, LENGTH)
    ]


def machine(run: dict[str, Any]) -> str:
    """The machine of a result: ``H100`` or ``2 cores, AMD EPYC``."""
    environment = run["environment"]
    if environment["gpus"]:
        name: str = environment["gpus"][0]["name"]
        return name.removeprefix("NVIDIA ").split()[0]
    return f"{environment['cores_available']} cores, {environment['cpu']}"


def _in_process(run: dict[str, Any], model: str) -> tuple[str, ...]:
    rows = at_batch_one(run, model)
    eager = next(row for row in rows if row["variant"] == "eager")
    best = min(rows, key=lambda row: row["p50_ms"])
    return (
        NAMES[model], machine(run), _milliseconds(eager["p50_ms"]),
        f"`{best['variant']}` {_milliseconds(best['p50_ms'])}, {best['speedup']:.1f} times as fast",
        f"cosine {best['parity']['cosine']:.6f}",
    )  # fmt: skip


def _shown(name: str) -> bool:
    return not name.endswith("-eager") and name != "null"


def _served(run: dict[str, Any], name: str) -> tuple[str, ...]:
    rows = [row for row in run["rows"] if row["archive"] == name and row["mode"] == "closed"]
    one, many = min(rows, key=_clients), max((row for row in rows if not row["errors"]), key=_clients)
    return (
        f"`{name}`" + (" (random weights)" if one["random_weights"] else ""), machine(run),
        _milliseconds(one["p50_ms"]), f"{_clients(many)} clients: {many['requests_per_s']:,.0f} requests/s",
        f"cosine {one['parity']['cosine']:.6f}",
    )  # fmt: skip


def _clients(row: dict[str, Any]) -> int:
    return int(row["concurrency"])


def _milliseconds(value: float) -> str:
    return f"{value:.2f} ms" if value < 10 else f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"


def _versions(runs: list[dict[str, Any]]) -> str:
    """Date and torch of each run: ``2026-11-23, torch 2.11.0 (H100) and 2.14.1 (2 cores)``."""
    by_date: dict[str, list[str]] = {}
    for run in runs:
        version = f"{run['environment']['packages']['torch']} ({machine(run).split(',')[0]})"
        by_date.setdefault(run["environment"]["date"][:10], []).append(version)
    return "; ".join(f"{date}, torch {' and '.join(versions)}" for date, versions in by_date.items())
