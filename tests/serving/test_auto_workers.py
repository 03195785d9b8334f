"""The number of workers where the user gives none: by cores and GPU memory. models.toml and WORKERS override it."""

import pytest

from serving import auto_workers
from serving.auto_workers import automatic, share
from serving.model_settings import ModelSettings
from serving.plan import Plan
from serving.store import archives
from tests.conftest import run
from tests.serving.plain_archives import ours

GPU = {"name": "a GPU", "memory": "81559 MiB", "driver": "1"}


@pytest.fixture(autouse=True)
def asked_anew():
    auto_workers.gpu_memory.cache_clear()
    yield
    auto_workers.gpu_memory.cache_clear()


@pytest.fixture
def store(tmp_path):
    ours(tmp_path, "bert-graph", "bert", "graph", deviceType="gpu")
    ours(tmp_path, "minilm-int8", "minilm", "int8", deviceType="cpu")
    return tmp_path


def plan(store, text="", workers=None):
    (store / "models.toml").write_text(text)
    return Plan.of(store, archives(store), ModelSettings.load(store / "models.toml"), workers=workers)


@pytest.mark.parametrize(
    ("cores", "gigabytes", "count", "workers"),
    [(16, [80], 1, 4), (16, [80], 3, 2), (4, [80], 1, 2), (2, [80], 1, 1), (64, [80, 80], 1, 8), (16, [24], 1, 4),
     (16, [16], 1, 2), (16, [4], 1, 1), (16, [24], 3, 1), (16, [], 1, 1)],
)  # fmt: skip
def test_cores_and_memory_are_shared_by_the_archives(cores, gigabytes, count, workers):
    assert share(cores, [each * 1e9 for each in gigabytes], count) == workers


def test_only_archives_that_run_a_model_on_a_gpu_get_more(monkeypatch):
    monkeypatch.setattr(auto_workers, "gpus", lambda: [GPU])
    graph, null = ({"deviceType": "gpu", "archive": {"runtime": each}} for each in ("graph", "null"))
    cpu, others = {"deviceType": "cpu", "archive": {"runtime": "onnx"}}, {"deviceType": "gpu"}
    assert automatic({"bert": graph, "null": null, "cpu": cpu, "others": others}, 16) == {"bert": 4}
    assert automatic({"cpu": cpu}, 16) == {} == automatic({"bert": graph}, 2)


def test_nvidia_smi_is_asked_once(monkeypatch):
    asked = []
    monkeypatch.setattr(auto_workers, "gpus", lambda: asked.append(1) or [GPU])
    graph = {"deviceType": "gpu", "archive": {"runtime": "graph"}}
    assert automatic({"bert": graph}, 8) == automatic({"bert": graph}, 8) == {"bert": 4} and len(asked) == 1


def test_models_toml_overrides_the_default_and_workers_overrides_both(store, monkeypatch):
    monkeypatch.setattr(auto_workers, "gpus", lambda: [GPU])
    monkeypatch.setattr("serving.plan.usable_cores", lambda: 16)
    found = plan(store)
    assert found.settings == {"bert-graph": {"workers": 4}}
    assert found.notices == [
        "bert-graph: workers 4 (by this machine's cores and GPU memory; WORKERS= sets another number)"
    ]
    said = plan(store, "[bert]\nworkers = 2\nthreads = 1\n")
    assert said.settings == {"bert-graph": {"workers": 2, "threads": 1}} and len(said.notices) == 1
    asked = plan(store, "[bert]\nworkers = 2\nthreads = 1\n", workers=3)
    assert asked.settings == {"bert-graph": {"workers": 3, "threads": 1}, "minilm-int8": {"workers": 3}}
    assert asked.notices[-1] == "minilm-int8: workers 3 (WORKERS)"


@pytest.mark.parametrize("given", ["0", "many", "257", "-1", "2.5"])
def test_an_invalid_number_is_one_sentence(store, given):
    refused = run("serving", "serve", MODEL_STORE=str(store), RUN_DIR=str(store / "run"), MODELS="", VARIANTS="",
                  MODELS_FILE=str(store / "none.toml"), WORKERS=given)  # fmt: skip
    assert refused.returncode == 1 and refused.stderr == (
        f"WORKERS={given} is no number from 1 to 256; write it as in: make serve WORKERS=2\n"
    )
