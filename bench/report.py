"""Shows a bench result as a terminal table, Markdown and plots. A pure function of the JSON; docs/bench.md has its
schema."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from textwrap import shorten
from typing import Any

from export.parity import Parity
from export.progress import table as text_table
from loadtest.report.markdown_report import table as markdown_table

HEADER = ("model", "variant", "batch", "length", "p50 ms", "p99 ms", "items/s", "vs eager", "of roofline", "parity")
BESIDE = (".md", ".svg", ".tmp")  # the files beside the JSON file, under its name


class Ticker:
    """Progress of one cell: a line that is updated on a terminal, otherwise one line per cell."""

    def __init__(self, where: str) -> None:
        self._where = where
        if not sys.stderr.isatty():
            print(f"measuring {where}", file=sys.stderr, flush=True)

    def __call__(self, text: str) -> None:
        """Shows the cell's current step, if the output is a terminal."""
        if sys.stderr.isatty():
            print(f"\r\033[K{self._where}: {text}", end="", file=sys.stderr, flush=True)


def roofline_share(row: dict[str, Any], environment: dict[str, Any]) -> str:
    """The ratio of the achieved operations to the measured matrix-product rate: fp32 on a CPU, fp16 on a GPU."""
    rates = environment["roofline"]
    ceiling = rates.get("fp32_gflops") or rates["fp16_tflops"] * 1e3
    return f"{row['gflops'] / ceiling:.1%}" if row["gflops"] else "-"


def cells(row: dict[str, Any], environment: dict[str, Any]) -> tuple[str, ...]:
    """One line of the table."""
    parity = Parity.from_record(row["parity"]).summary() if row["parity"] else "-"
    stamp = " (random weights)" if row["weights"] == "random weights" else ""
    return (
        row["model"] + stamp, row["variant"], str(row["batch"]), str(row["length"] or "-"), f"{row['p50_ms']:.3f}",
        f"{row['p99_ms']:.3f}", _rate(row["items_per_s"]), f"{row['speedup']:.2f}x",
        roofline_share(row, environment), parity,
    )  # fmt: skip


def _rate(items: float) -> str:
    return f"{items:,.1f}" if items < 100 else f"{items:,.0f}"


def table(result: dict[str, Any]) -> str:
    """The terminal table."""
    return text_table(HEADER, lines(result))


def lines(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """The table's lines, model by model: the measured variants, then the refused ones with their reasons."""
    rows, found = result["rows"], []
    for model in dict.fromkeys(row["model"] for row in rows):
        found += [cells(row, result["environment"]) for row in rows if row["model"] == model]
        for row in refused(result, model):
            found.append((found[-1][0], row["variant"], *["-"] * (len(HEADER) - 3), f"refused: {row['reason']}"))
    return found


def own_handlers(result: dict[str, Any]) -> list[str]:
    """A line for each model with a user's own handler, which the bench does not run."""
    named = {row["model"]: row["own_handler"] for row in result["rows"] if row.get("own_handler")}
    return [
        f"{model}: times and parity are those of the network without {file}; make choose MODEL={model} measures the "
        "served archive." for model, file in named.items()
    ]  # fmt: skip


def refused(result: dict[str, Any], model: str) -> list[dict[str, str]]:
    """The model's variants that were not packed. Older results have no such list, since the bench then stopped at the
    first one."""
    return [row for row in result.get("refused", []) if row["model"] == model]


def markdown(result: dict[str, Any]) -> str:
    """The result in Markdown: the command, the environment and the table."""
    environment = result["environment"]
    gpus = ", ".join(gpu["name"] for gpu in environment.get("gpus", [])) or "none"
    text = [
        f"`{environment['command']}`",
        "",
        f"{environment['cpu']}, {environment['cores_available']} cores; GPU: {gpus}; {environment['date'][:10]}; "
        f"torch {environment['packages'].get('torch', '?')}. All variants of a model in one process, in turns.",
        "",
        markdown_table(HEADER, lines(result)),
        *(f"\n{line}" for line in own_handlers(result)),
    ]
    return "\n".join(text) + "\n"


def write(result: dict[str, Any], out: Path) -> None:
    """Writes ``out`` (JSON), ``.md`` and ``.svg`` beside it."""
    save(result, out)
    out.with_suffix(".md").write_text(markdown(result))
    plot(result, out.with_suffix(".svg"))


def save(result: dict[str, Any], out: Path) -> None:
    """Writes ``out`` (JSON) atomically."""
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_suffix(".tmp")
    aside.write_text(json.dumps(result, indent=1) + "\n")
    aside.replace(out)


def plot(result: dict[str, Any], path: Path) -> None:
    """Plots for each model: the latency of each variant at batch 1, and the throughput by batch size."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    models = list(dict.fromkeys(row["model"] for row in result["rows"]))
    figure, axes = pyplot.subplots(len(models), 2, figsize=(11, 3.2 * len(models)), squeeze=False)
    for (left, right), model in zip(axes, models, strict=True):
        rows = [row for row in result["rows"] if row["model"] == model]
        lengths = sorted({row["length"] for row in rows if row["length"]})
        length = 128 if 128 in lengths else (lengths[-1] if lengths else None)
        rows = [row for row in rows if row["length"] == length]
        title = model + (f", {length} tokens" if length else "")
        title += " (random weights)" if rows[0]["weights"] == "random weights" else ""
        _latency(left, [row for row in rows if row["batch"] == min(r["batch"] for r in rows)], title)
        _refusals(left, refused(result, model))
        _throughput(right, rows, title)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _latency(axis: Any, rows: list[dict[str, Any]], title: str) -> None:
    rows = sorted(rows, key=lambda row: row["p50_ms"], reverse=True)
    bars = axis.barh([row["variant"] for row in rows], [row["p50_ms"] for row in rows], color="#4269d0")
    axis.bar_label(bars, [f"{row['p50_ms']:.2f} ms, {row['speedup']:.2f}x" for row in rows], padding=4, fontsize=8)
    axis.set(title=f"{title}\nlatency at batch {rows[0]['batch']}", xlabel="p50, ms (less is better)")
    axis.margins(x=0.35)
    axis.spines[["top", "right"]].set_visible(False)


def _refusals(axis: Any, rows: list[dict[str, str]]) -> None:
    bars = axis.barh([row["variant"] for row in rows], [0.0] * len(rows))
    axis.bar_label(bars, [f"refused: {shorten(row['reason'], 60)}" for row in rows], padding=4, fontsize=8)


def _throughput(axis: Any, rows: list[dict[str, Any]], title: str) -> None:
    for variant in dict.fromkeys(row["variant"] for row in rows):
        points = sorted((row["batch"], row["items_per_s"]) for row in rows if row["variant"] == variant)
        axis.plot(*zip(*points, strict=True), marker="o", label=variant)
    axis.set(title=f"{title}\nthroughput", xlabel="batch size", ylabel="items per second")
    axis.set_xscale("log", base=2)
    batches = sorted({row["batch"] for row in rows})
    axis.set_xticks(batches, [str(batch) for batch in batches])
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)
