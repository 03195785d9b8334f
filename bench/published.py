"""``python -m bench.published`` writes the tables and the picture of the published results. A test fails if they are
out of date.

They are the table of all variants in docs/variants.md, the README's headline tables and its picture. The results are in
docs/results. This module has the figures of the document that this project started from.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.headline import headline
from bench.picture import picture
from loadtest.report.markdown_report import table

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
PICTURE = RESULTS / "headline.svg"
BEGIN, END = "<!-- {}: python -m {} -->\n", "<!-- end of {} -->"
LENGTH = 128
# The document's own figures, batch 1, milliseconds: (CPU, GPU).
DOCUMENT = {
    ("bert", "eager"): (88.82, 18.77), ("bert", "torchscript"): (86.93, 9.32),
    ("resnet50", "eager"): (92.92, 9.04), ("resnet50", "torchscript"): (89.58, 2.53),
}  # fmt: skip
HEADER = ("module", "CPU ms", "vs eager", "GPU ms", "vs eager", "parity: CPU; GPU", "document: CPU / GPU ms")


def results_table(cpu: dict[str, Any], gpu: dict[str, Any]) -> str:
    """Markdown of both runs at batch 1: every variant of ``bert`` (128 tokens) and ``resnet50`` (224 x 224)."""
    runs = [_at_batch_one(run) for run in (cpu, gpu)]
    names = list(dict.fromkeys([*runs[0], *runs[1]]))
    names.sort(key=lambda name: (name[0], name[1] != "eager", name[1] != "torchscript"))
    lines = [_line(name, [run.get(name) for run in runs]) for name in names]
    return "\n".join([table(HEADER, lines), "", _machines(cpu, gpu), ""])


def _at_batch_one(run: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    rows = [row for row in run["rows"] if row["batch"] == 1 and row["length"] in (None, LENGTH)]
    return {(row["model"], row["variant"]): row for row in rows if row["model"] in ("bert", "resnet50")}


def _line(name: tuple[str, str], rows: list[dict[str, Any] | None]) -> list[str]:
    found = [cell for row in rows for cell in ((f"{row['p50_ms']:.2f}", f"{row['speedup']:.2f}x") if row else ("", ""))]
    document = "{:.2f} / {:.2f}".format(*DOCUMENT[name]) if name in DOCUMENT else ""
    return [f"{name[0]} `{name[1]}`", *found, "; ".join(_parity(row) for row in rows if row), document]


def _parity(row: dict[str, Any]) -> str:
    return f"|Δ| {row['parity']['max_abs']:.1e}, cos {row['parity']['cosine']:.6f}"


def _machines(cpu: dict[str, Any], gpu: dict[str, Any]) -> str:
    facts = []
    for run, device in ((cpu, ""), (gpu, gpu["environment"]["gpus"][0]["name"] + ", ")):
        e = run["environment"]
        facts.append(
            f"{device}{e['cpu']}, {e['cores_available']} cores, {e['date'][:10]}, torch {e['packages']['torch']}: "
            f"`{e['command']}`"
        )
    return (
        f"In process, batch 1, p50, BERT-base at {LENGTH} tokens, ResNet-50 at 224 x 224, random weights, numpy in to "
        "numpy out. CPU: " + facts[0] + ". GPU: " + facts[1] + ". On the GPU, convolutions in fp32 use TF32, PyTorch's "
        'default, and matrix products do not. The column "document" has the figures of the document that this project '
        "started from; they were not measured here. All rows: [CPU](results/bench-cpu.md), "
        "[GPU](results/bench-h100.md)."
    )


def read(name: str) -> dict[str, Any]:
    """The published result ``name``."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def sections() -> dict[tuple[Path, str], str]:
    """The Markdown of each generated section, by its page and its name."""
    cpu, gpu = read("bench-cpu"), read("bench-h100")
    served = [read("loadtest-cpu"), read("loadtest-h200-graph")]
    return {
        (ROOT / "docs" / "variants.md", "results"): results_table(cpu, gpu),
        (ROOT / "README.md", "headline"): headline([gpu, cpu], served),
    }


def renewed(page: str, name: str, section: str, module: str = "bench.published") -> str:
    """The text of a page with a new content of the section ``name``, which ``module`` generates. Raises ValueError if
    the page has no such section."""
    begin, end = BEGIN.format(name, module), END.format(name)
    if begin not in page or end not in page:
        raise ValueError(f"no section {name}")
    head, _, rest = page.partition(begin)
    return head + begin + section + end + rest.partition(end)[2]


if __name__ == "__main__":
    for (path, name), section in sections().items():
        path.write_text(renewed(path.read_text(), name, section))
    PICTURE.write_text(picture([read("bench-h100"), read("bench-cpu")]))
