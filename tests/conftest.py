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
from dataclasses import dataclass
from pathlib import Path

import pytest

from export.catalog import variant_names
from serving.client import Client
from serving.config import ADDRESSES, GRPC_PORTS, Config
from serving.state import RunDirectory

ROOT = Path(__file__).resolve().parent.parent
STORE, DIGITS, BENCH_STORE = (ROOT / ".cache" / "stores" / name for name in ("test", "test-digits", "test-bench"))
CPU_VARIANTS = variant_names("cpu")
# Rows that show little which another does not show for less; ROWS=all tests them as well. Inductor compiles a minute or
# more for minilm and for a ResNet-18. So bert, which is tiny here, is built in every variant, the others in those
# without Inductor, and tests/export/test_inductor.py compiles a small ResNet. resnet50 is another size of image; photos
# has real photographs and int8.
LEFT_OUT = {
    "minilm": ("compile", "aoti"),
    "digits": ("frozen", "compile", "aoti"),
    "resnet50": ("frozen", "compile", "aoti", "openvino", "int8"),
}
if os.environ.get("ROWS") == "all":
    LEFT_OUT = {}
MODEL_VARIANTS = {
    model: [name for name in CPU_VARIANTS if name not in LEFT_OUT.get(model, ())]
    for model in ("minilm", "digits", "bert", "resnet50")
} | {"photos": ["torchscript", "int8"]}


def pytest_configure(config: pytest.Config) -> None:
    """No test finds the user's stores: what names none has the tests' own."""
    os.environ |= {"MODEL_STORE": str(STORE), "BENCH_STORE": str(BENCH_STORE)}


def run(*command: str, timeout: float = 900, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a module of the checkout (``run("export", MODELS="null")``) as make does, with these variables on top."""
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on at this moment."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


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
    """A running TorchServe: what the verbs need to find it, and a client."""

    environment: dict[str, str]
    client: Client
    config: Config
    directory: RunDirectory
    names: list[str]


@pytest.fixture(scope="session")
def store() -> Path:
    """The tests' own store with the default models in the tested CPU variants, built where they are out of date."""
    _build({DIGITS: [("digits", {})], STORE: [("minilm null", {}), ("photos", {})]})
    _link(DIGITS, ["digits"], STORE)
    return STORE


def _build(stores: dict[Path, list[tuple[str, dict[str, str]]]]) -> None:
    """Builds (models, variables) into each store. The stores at the same time: much of a build keeps one core busy."""

    def one_by_one(folder: Path) -> None:
        for models, variables in stores[folder]:
            built = run("export", **rows_to_build(models), **variables, MODEL_STORE=str(folder))
            assert built.returncode == 0, built.stdout + built.stderr

    with ThreadPoolExecutor() as pool:
        list(pool.map(one_by_one, stores))


def _link(source: Path, models: list[str], target: Path) -> None:
    """Puts the archives of these models into ``target`` as well."""
    names = [f"{model}-{name}" for model in models for name in MODEL_VARIANTS[model]]
    for path in [source / f"{name}{suffix}" for name in names for suffix in (".mar", ".mar.sha256")]:
        (target / path.name).unlink(missing_ok=True)
        os.link(path, target / path.name) if _same_disk(path, target) else shutil.copy(path, target)


def _same_disk(a: Path, b: Path) -> bool:
    return a.stat().st_dev == b.stat().st_dev


def rows_to_build(models: str) -> dict[str, str]:
    """What makes ``make archive`` build the tested CPU rows of these models."""
    return {"DEVICE": "cpu", "MODELS": models, "VARIANTS": " ".join(MODEL_VARIANTS[models.split()[0]])}


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
    _link(photographs, ["resnet50"], everything)
    _link(store, ["minilm", "digits", "photos"], everything)
    for path in store.glob("null.mar*"):
        shutil.copy(path, everything)
    return everything


def hub_environment(hub: Path) -> dict[str, str]:
    """What makes huggingface_hub look into that folder and nowhere else."""
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
