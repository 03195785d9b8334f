"""The bench: its plan, the alternation of variants, and its report."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from bench.lengths import mixed
from bench.measure import interleaved
from bench.plan import Cell, cells, operations, read_plan
from bench.report import markdown, table, write
from export.catalog import CatalogError
from handlers.settings import Settings, TensorSpec, TextInput
from tests.conftest import ROOT, run

ENVIRONMENT = {
    "command": "make bench", "cpu": "a CPU", "cores_available": 2, "gpus": [], "date": "2026-01-01T00:00:00",
    "packages": {"torch": "2.14.1"}, "roofline": {"fp32_gflops": 100.0},
}  # fmt: skip
ROW = {
    "model": "bert", "variant": "eager", "device": "cpu", "batch": 1, "length": 128, "p50_ms": 100.0, "p99_ms": 120.0,
    "calls": 10, "items_per_s": 10.0, "speedup": 1.0, "gflops": 50.0, "weights": "random weights",
    "parity": {"max_abs": 0.0, "cosine": 1.0, "top1": 1.0, "accuracy": None, "reference_accuracy": None,
               "failures": [], "passed": True}, "load_s": 1.0, "memory_mb": 1.0, "archive_mb": 1.0,
}  # fmt: skip


def test_the_plan_needs_eager_and_valid_numbers():
    with pytest.raises(CatalogError, match="add eager"):
        read_plan({"VARIANTS": "torchscript", "DEVICE": "cpu"})
    with pytest.raises(CatalogError, match="BATCHES is 'many'"):
        read_plan({"BATCHES": "many", "DEVICE": "cpu"})
    plan = read_plan({"MODELS": "minilm", "BATCHES": "1,8", "DEVICE": "cpu"})
    assert cells(texts(256), plan) == [Cell(b, n) for b in (1, 8) for n in (16, 128)]
    assert cells(replace(texts(256), text=None), plan) == [Cell(1, None), Cell(8, None)]


def texts(limit):
    """The settings of a fill-mask archive whose texts have at most ``limit`` tokens."""
    per_token = tuple(TensorSpec(name, ("batch", "tokens"), "int64") for name in ("input_ids", "attention_mask"))
    inputs = (*per_token, TensorSpec("mask_position", ("batch",), "int64"))
    text = TextInput(limit, 0, 30_000, 100_000, 1_000_000)
    return Settings("m", "v", "fill-mask", "cpu", "eager", "w", inputs, (), text=text)


@pytest.mark.alone
def test_slow_requests_with_a_new_length_are_counted():
    met = set()

    def runtime(ids, mask, position):
        assert ids.shape == mask.shape and position.shape == (1,)
        first = ids.shape[1] not in met and ids.shape[1] % 50 == 0
        met.add(ids.shape[1])
        time.sleep(0.1 if first else 0.005)  # far above the noise of the machine

    slow, worst = mixed(runtime, texts(512), count=400)
    assert slow == sum(length % 50 == 0 for length in met) > 0
    assert worst > 10


def test_operations_of_bert_base():
    assert operations("bert", Cell(1, 128)) == pytest.approx(169.9e6 * 128 + 36864 * 128**2, rel=1e-3)
    assert operations("minilm", Cell(1, 128)) is None


@pytest.mark.alone
def test_calls_alternate_and_get_equal_time():
    order = []

    def call(name):
        def made():
            order.append(name)
            time.sleep(0.002)

        return made

    times = interleaved({"a": call("a"), "b": call("b")}, 0.1, lambda text: None)
    switches = sum(x != y for x, y in itertools.pairwise(order))
    assert switches >= 5
    for found in times.values():
        assert len(found.milliseconds) >= 5 and 2 <= sorted(found.milliseconds)[len(found.milliseconds) // 2] < 20


def test_every_speed_is_shown_with_random_weights_and_parity(tmp_path):
    result = {"environment": ENVIRONMENT, "rows": [ROW]}
    for text in (table(result), markdown(result)):
        assert "random weights" in text and "cos 1.000000" in text and "50.0%" in text
    write(result, tmp_path / "bench.json")
    assert json.loads((tmp_path / "bench.json").read_text()) == result
    assert (tmp_path / "bench.svg").read_text().count("<path") > 10


def test_the_report_says_that_the_bench_does_not_run_a_users_handler(tmp_path):
    mine = {"environment": ENVIRONMENT, "rows": [{**ROW, "own_handler": "mine.py"}]}
    assert "without mine.py; make choose MODEL=bert measures the served archive." in markdown(mine)
    assert "mine.py" not in markdown({"environment": ENVIRONMENT, "rows": [ROW]})


def test_a_refused_variant_is_in_the_table_the_markdown_and_the_plot_with_its_reason(tmp_path):
    refused = {"model": "bert", "variant": "int8", "reason": "cosine is 0.7, at least 0.99 wanted"}
    result = {"environment": ENVIRONMENT, "rows": [ROW], "refused": [refused]}
    for text in (table(result), markdown(result)):
        line = next(line for line in text.splitlines() if "int8" in line)
        assert "bert (random weights)" in line and "refused: cosine is 0.7, at least 0.99 wanted" in line
    write(result, tmp_path / "bench.json")
    assert "<!-- refused: cosine is 0.7, at least 0.99 wanted -->" in (tmp_path / "bench.svg").read_text()


def test_a_variant_that_fails_its_parity_is_refused_and_the_others_are_measured(tmp_path):
    """Uses a BERT with more outlier channels than int8 keeps in fp32, so that its int8 really fails."""
    from tests.tiny import write_bert

    weights, out = write_bert(tmp_path / "weights", outliers=True), tmp_path / "out" / "bench.json"
    done = run(
        "bench", MODELS="bert", VARIANTS="eager,int8,torchscript", BATCHES="1", LENGTHS="16", BENCH_SECONDS="0.1",
        DEVICE="cpu", BERT_WEIGHTS=str(weights), OUT=str(out), BENCH_STORE=str(tmp_path / "store"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    eager, torchscript = result["rows"]
    assert [eager["variant"], torchscript["variant"]] == ["eager", "torchscript"]
    assert eager["speedup"] == 1.0 and eager["parity"]["passed"] and torchscript["p50_ms"] > 0
    assert [each.name for each in sorted(out.parent.iterdir())] == ["bench.json", "bench.md", "bench.svg"]
    (refused,) = result["refused"]
    assert (refused["model"], refused["variant"]) == ("bert", "int8") and "cosine is" in refused["reason"]
    assert f"refused: {refused['reason']}" in done.stdout
    built = sorted(path.stem for path in (tmp_path / "store").glob("*.mar"))
    assert built == ["bert-eager", "bert-torchscript"]


def test_without_eager_nothing_is_measured(tmp_path):
    """A folder without a checkpoint gives one sentence of the build and one of the bench."""
    (tmp_path / "empty").mkdir()
    done = run(
        "bench", MODELS="bert", VARIANTS="eager torchscript", DEVICE="cpu", BERT_WEIGHTS=str(tmp_path / "empty"),
        OUT=str(tmp_path / "bench.json"), BENCH_STORE=str(tmp_path / "store"),
    )  # fmt: skip
    assert done.returncode == 1 and "has no config.json" in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.endswith("Nothing was measured: every variant is compared with bert-eager.\n")
    assert not (tmp_path / "bench.json").exists()


def test_the_bench_uses_archives_that_are_up_to_date_and_does_not_change_the_users_store(null_store, tmp_path):
    """Uses ``null``, which is built quickly. The bench itself does not measure it."""
    (tmp_path / "users").mkdir()
    for path in null_store.glob("null.mar*"):
        shutil.copy(path, tmp_path / "users")
    users = tmp_path / "users" / "null.mar"
    before = (users.stat().st_mtime_ns, sorted(path.name for path in users.parent.iterdir()))
    program = (
        "import os, pathlib; from export.options import read_options; from export.own_store import bring_up_to_date\n"
        f"print(bring_up_to_date(pathlib.Path({str(tmp_path / 'own')!r}), read_options(os.environ)))"
    )
    environment = {**os.environ, "MODELS": "null", "DEVICE": "cpu", "MODEL_STORE": str(users.parent)}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "{'null': ''}" in done.stdout and "up to date" in done.stdout, done.stderr
    assert users.samefile(tmp_path / "own" / "null.mar")
    assert before == (users.stat().st_mtime_ns, sorted(path.name for path in users.parent.iterdir()))


def test_an_interrupted_bench_keeps_its_results(store, tmp_path):
    out, part = tmp_path / "bench.json", tmp_path / "bench.part.json"
    settings = {"MODELS": "digits", "VARIANTS": "eager torchscript", "BATCHES": "1,8", "BENCH_SECONDS": "1"}
    environment = {**os.environ, **settings, "DEVICE": "cpu", "OUT": str(out)}
    bench = subprocess.Popen([sys.executable, "-m", "bench"], cwd=ROOT, env=environment)
    try:
        end = time.monotonic() + 120
        while not part.exists() and time.monotonic() < end:
            time.sleep(0.05)  # a cell takes about 3 s
    finally:
        bench.terminate()
        bench.wait()
    assert [row["batch"] for row in json.loads(part.read_text())["rows"]] == [1, 1]
    assert not out.exists()


def test_photographs_are_timed_and_compared_with_the_reference():
    from bench.photos import TOGETHER, measure
    from export.cases import photographs

    row = measure(photographs()[0], "cpu")
    assert row["size"] == "640x427" and row["host_ms"] > 0 and row["host_off_by"] == 0
    assert row["gpu_ms"] is None and TOGETHER > 1


def test_the_roofline_is_measured_with_the_available_cores(monkeypatch):
    """With sixteen threads on four cores, the measured rate was 13 GFLOP/s, and eager had 1,400 % of it."""
    import bench.__main__ as program

    monkeypatch.setattr(program, "machine", lambda: {"cores": 16, "cores_available": 4})
    monkeypatch.setattr(program, "cpu_gflops", lambda threads: 25.0 * threads)
    environment = program._environment(SimpleNamespace(options=SimpleNamespace(device="cpu")))
    assert environment["roofline"] == {"fp32_gflops": 100.0}
