"""The facts that the manifests state, each read from its only source: the image, the server's settings, measured
results.

Nothing here knows Kubernetes.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.catalog import MODELS
from serving.config import Config
from serving.doctor.machine import JAVA, TORCH_WORKER
from serving.server import KILL_TIMEOUT_S, START_TIMEOUT_S, STOP_TIMEOUT_S

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "docs" / "results"
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
IMAGE = "torchscript-inference"  # as docs/production.md builds it
# Where the manifests mount files that the image lacks.
SETTINGS, TOKENS, TOKEN_FILE = "/app/settings", "/app/tokens", "tokens"
CORES = 2  # the cores of the machine that measured the figures of a CPU
GPU_WORKERS = 4  # the workers of one GPU (serving/auto_workers.py)
STEP = 128  # MiB; figures are rounded up to a multiple


@dataclass(frozen=True)
class Image:
    """The last stage of deploy/Dockerfile."""

    user: int
    group: int
    folder: str
    temp: str
    port: int


def image() -> Image:
    """The image's user, folders and port."""
    text = DOCKERFILE.read_text().split("\nFROM ")[-1]

    def said(pattern: str) -> str:
        found = re.search(pattern, text, re.MULTILINE)
        assert found is not None, f"deploy/Dockerfile has no {pattern}"
        return found[1]

    user, group = said(r"^USER (\d+:\d+)$").split(":")
    return Image(int(user), int(group), said(r"^WORKDIR (\S+)$"), said(r"TMPDIR=(\S+)"), int(said(r"^EXPOSE (\d+)$")))


def version() -> str:
    """The project's version, which tags the image."""
    found = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert found is not None, "pyproject.toml has no version"
    return found[1]


def properties() -> dict[str, str]:
    """config.properties for a pod. docs/kubernetes.md gives the reason for each change."""
    given = Config.load(ROOT / "config.properties").properties
    ports = {name: given[name].rpartition(":")[2] for name in ("inference_address", "metrics_address")}
    return {
        **given,
        "inference_address": f"http://0.0.0.0:{ports['inference_address']}",
        "metrics_address": f"http://0.0.0.0:{ports['metrics_address']}",
        "open_ping": "true",
        "inference_token_file": f"{TOKENS}/{TOKEN_FILE}",
        "fair_queue": "false",
    }


def port(name: str) -> int:
    """The port of an address in the pod's config.properties."""
    return int(properties()[name].rpartition(":")[2])


def models_toml(model: str, workers: int, threads: int) -> str:
    """models.toml with the model's workers and threads. A worker counts the node's cores, not its pod's limit."""
    assert model in {each.name for each in MODELS}
    return f"[{model}]\nworkers = {workers}\nthreads = {threads}\n"


def read(name: str) -> Any:
    """A published result."""
    return json.loads((RESULTS / name).read_text())


def heap_mib() -> int:
    """Java's heap, in MiB. Its direct memory may be as large (serving/config.py)."""
    found = re.search(r"-Xmx(\d+)m", properties()["vmargs"])
    assert found is not None, "config.properties has no -Xmx in MiB"
    return int(found[1])


def cpu_memory_mib(archive: str) -> tuple[int, int]:
    """(request, limit) of memory for a pod with one worker. The request is the peak of worker and Java in a soak test
    of half an hour. The limit adds the heap and direct memory that Java may take under load."""
    processes = read("soak-cpu.json")["processes"]
    seen = sum(processes[name]["rss_mib"]["max"] for name in (archive, "java"))
    wanted = _up(seen)
    return wanted, _up(wanted + 2 * heap_mib())


def gpu_memory_mib() -> tuple[int, int]:
    """(request, limit) of memory for the workers of one GPU. The request is twice the estimate of ``make doctor`` for a
    CPU. The host memory of a GPU machine has not been measured."""
    wanted = _up(2 * (JAVA + GPU_WORKERS * TORCH_WORKER) / 2**20)
    return wanted, _up(wanted + 2 * heap_mib())


def gpu_cores(archive: str) -> int:
    """Cores that the server used with 64 clients and the workers of one GPU (served-h200.log), rounded up to an even
    number."""
    line = re.compile(
        rf"^new +{archive} +workers +{GPU_WORKERS} +clients +64:.*; java ([\d.]+) cores, others ([\d.]+),", re.MULTILINE
    )
    found = line.search((RESULTS / "served-h200.log").read_text())
    assert found is not None, f"served-h200.log has no line of {archive} with {GPU_WORKERS} workers"
    return 2 * math.ceil((float(found[1]) + float(found[2])) / 2)


def gpu_threads(archive: str) -> int:
    """Threads of each of a GPU's workers."""
    return gpu_cores(archive) // GPU_WORKERS


def _up(mib: float) -> int:
    return STEP * math.ceil(mib / STEP)


def startup_s() -> int:
    """The longest start in seconds. After it, ``make serve`` reports the error and ends the container."""
    return START_TIMEOUT_S


def stop_s() -> int:
    """The longest time in seconds that the server takes to stop."""
    return STOP_TIMEOUT_S + KILL_TIMEOUT_S


def queue_wait_s(archive: str) -> float:
    """The longest wait in a full queue at the archive's measured rate with the most users."""
    rows = [row for row in read("loadtest-cpu.json")["rows"] if row["archive"] == archive and row["mode"] == "closed"]
    return int(properties()["job_queue_size"]) / float(max(row["requests_per_s"] for row in rows))
