"""Shared fixtures: a store with every catalog row built, and one real TorchServe that serves it on free ports.

The tests build into a separate store. It is kept, so that a second run finds its archives.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from export.catalog import MODELS, rows, variant_names
from serving.client import Client
from serving.config import ADDRESSES, GRPC_PORTS, Config
from serving.state import RunDirectory
from tests import side_by_side, verbs
from tests.side_by_side import free_ports, one_at_a_time

ROOT = Path(__file__).resolve().parent.parent
STORE, NULL, DIGITS, BENCH_STORE = (
    ROOT / ".cache" / "stores" / name for name in ("test", "test-null", "test-digits", "test-bench")
)
CPU_VARIANTS = variant_names("cpu")
# Rows that resemble cheaper ones. ROWS=all tests them too. Inductor compiles for a minute or more for minilm and for a
# ResNet-18. So only bert, which is tiny here, has its package of Inductor. Compiling at load takes half a minute for
# the tiny bert in its dry run, and again in its worker, which has another number of threads. resnet50 has another size
# of image; photos has real photographs and int8. A model that is new in the catalog is tested in every variant.
LEFT_OUT = {
    "bert": ("compile",),
    "minilm": ("frozen", "compile", "aoti"),
    "digits": ("frozen", "compile", "aoti"),
    "resnet50": ("frozen", "compile", "aoti", "onnx", "openvino", "int8"),
    "photos": ("eager", "frozen", "compile", "aoti", "onnx", "openvino"),
}
ALL_ROWS = os.environ.get("ROWS") == "all"
if ALL_ROWS:
    LEFT_OUT = {}
ROWS = [row for row in rows(MODELS, CPU_VARIANTS, "cpu") if row.variant.name not in LEFT_OUT.get(row.model.name, ())]
MODEL_VARIANTS = {
    model.name: [row.variant.name for row in ROWS if row.model == model] for model in MODELS if model.kind != "none"
}

# OpenMP threads sleep while they wait for each other, as in our workers. By default they spin and occupy the core of
# another process. Beside busy processes on two cores, 200 images through a ResNet-18 took 25 s of CPU by default, and
# 4.5 s with this setting.
SLEEPING = {"OMP_WAIT_POLICY": "PASSIVE"}


def pytest_configure(config: pytest.Config) -> None:
    """Makes the tests' own stores the default, so that no test finds the user's stores."""
    os.environ |= {"MODEL_STORE": str(STORE), "BENCH_STORE": str(BENCH_STORE)}
    config.pluginmanager.register(side_by_side)
    if hasattr(config, "workerinput"):  # another process runs tests beside this one
        os.environ |= SLEEPING


def run(*command: str, timeout: float = 900, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a module of the checkout (``run("export", MODELS="null")``) as make does, with these variables on top."""
    variables = {**os.environ, **environment}
    with _builds_in_turn(command, environment):
        if verbs.forks(command, variables):
            return verbs.run(command, variables, timeout)
        new = [sys.executable, "-m", *command]
        return subprocess.run(new, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=timeout)


def _builds_in_turn(command: tuple[str, ...], environment: dict[str, str]) -> AbstractContextManager[None]:
    """Lets one process build at a time: the tests' processes share stores, and make archive refuses a store in use."""
    store = Path(environment.get("MODEL_STORE", STORE))
    return one_at_a_time(store.name) if command[0] == "export" and store.parent == STORE.parent else nullcontext()


def write_config(path: Path, **properties: str) -> Path:
    """The checkout's config.properties on free ports, with ``properties`` changed."""
    ports = iter(free_ports(len(ADDRESSES) + len(GRPC_PORTS)))
    changed = {key: f"http://127.0.0.1:{next(ports)}" for key in ADDRESSES}
    changed |= {key: str(next(ports)) for key in GRPC_PORTS}
    settings = {**Config.load(ROOT / "config.properties").properties, **changed, **properties}
    path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    return path


@dataclass(frozen=True)
class Served:
    """A running TorchServe: the variables by which the verbs find it, and a client."""

    environment: dict[str, str]
    client: Client
    config: Config
    directory: RunDirectory
    names: list[str]


@pytest.fixture(scope="session")
def null_store() -> Path:
    """The tests' own store with ``null`` alone, which takes a few seconds to build."""
    _build({NULL: [("null", {})]})
    return NULL


@pytest.fixture(scope="session")
def store(null_store: Path) -> Path:
    """The tests' own store with the default models in the tested CPU variants. Archives that are out of date are
    built."""
    _build({DIGITS: [("digits", {})], STORE: [("minilm", {}), ("photos", {})]})
    with one_at_a_time(STORE.name):
        _link(DIGITS, names_of("digits"), STORE)
        _link(null_store, ["null"], STORE)
    return STORE


def _build(stores: dict[Path, list[tuple[str, dict[str, str]]]]) -> None:
    """Builds (models, variables) into each store, in parallel, since a build mostly uses one core."""

    def one_by_one(folder: Path) -> None:
        for models, variables in stores[folder]:
            built = run("export", **rows_to_build(models), **variables, **SLEEPING, MODEL_STORE=str(folder))
            assert built.returncode == 0, built.stdout + built.stderr

    with ThreadPoolExecutor() as pool:
        list(pool.map(one_by_one, stores))


def _link(source: Path, names: list[str], target: Path) -> None:
    """Links these archives into ``target`` too. Existing files stay, since a server may be reading them."""
    for path in [source / f"{name}{suffix}" for name in names for suffix in (".mar", ".mar.sha256")]:
        link = target / path.name
        if link.exists() and link.samefile(path):
            continue
        aside = target / f".{path.name}.part"
        aside.unlink(missing_ok=True)
        os.link(path, aside) if _same_disk(path, target) else shutil.copy2(path, aside)
        aside.replace(link)


def _same_disk(a: Path, b: Path) -> bool:
    return a.stat().st_dev == b.stat().st_dev


def names_of(*models: str) -> list[str]:
    """The archives of these models in the tested CPU variants."""
    return [f"{model}-{name}" for model in models for name in MODEL_VARIANTS[model]]


def rows_to_build(models: str) -> dict[str, str]:
    """The variables with which ``make archive`` builds the tested CPU rows of these models."""
    variants = MODEL_VARIANTS.get(models.split()[0], [])  # null has only one variant
    return {"DEVICE": "cpu", "MODELS": models, "VARIANTS": " ".join(variants)}


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local folder in the Hugging Face hub's own layout, holding a small BERT under the catalog's id and revision."""
    from tests.tiny import write_hub

    return write_hub(tmp_path_factory.mktemp("hub"))


@pytest.fixture(scope="session")
def every_row(store: Path, hub: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with an archive for every tested CPU row of the catalog: the default models', those of ``bert`` from the
    local hub folder and of ``resnet50`` with random weights."""
    everything, photographs = tmp_path_factory.mktemp("store"), tmp_path_factory.mktemp("resnet50")
    _build({everything: [("bert", hub_environment(hub))], photographs: [("resnet50", {"WEIGHTS": "random"})]})
    _link(photographs, names_of("resnet50"), everything)
    _link(store, [*names_of("minilm", "digits", "photos"), "null"], everything)
    return everything


def hub_environment(hub: Path) -> dict[str, str]:
    """The variables with which huggingface_hub reads that folder only."""
    return {"HF_HUB_CACHE": str(hub), "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="session")
def served(every_row: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A real TorchServe with every row; its clean stop is asserted at the end."""
    folder = tmp_path_factory.mktemp("server")
    config = write_config(folder / "config.properties")
    environment = {
        "CONFIG": str(config),
        "RUN_DIR": str(folder / "run"),
        "MODEL_STORE": str(every_row),
        "MODELS": "",
        "VARIANTS": "",
    }
    started = run("serving", "serve", **environment)
    directory = RunDirectory(folder / "run")
    assert started.returncode == 0, started.stdout + started.stderr
    state = directory.read()
    assert state is not None
    loaded = Config.load(config)
    try:
        yield Served(environment, Client(loaded, directory.key_file), loaded, directory, sorted(state.archives))
    finally:
        stopped = run("serving", "stop", **environment)
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert state.processes() == []
    assert not Path(state.temp).exists()
    for port in state.ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
