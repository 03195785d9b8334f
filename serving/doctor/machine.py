"""Checks of disk, memory, cores and limits against what the store's archives need."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from serving.doctor.archives import Need, needs
from serving.doctor.cgroups import Groups
from serving.doctor.finding import OK, STOP, WARN, Finding, Place, size

SETUP = 7e9  # bytes of .venv, plus one of pip's downloads at a time
BUILD = 2e9  # a few archives and their caches
LOGS = 1e8  # log4j2.xml keeps less
# The unique memory (USS) of a warm process on Linux, without the archive's bytes (docs/faults.md).
JAVA = 2.5e8
WORKER = {"null": 3e7, "onnx": 1.6e8, "openvino": 1.6e8}
TORCH_WORKER = 4e8
DECODING = 8  # bytes per pixel of the largest image; handlers/image_structure/file.py keeps every format within it
SOCKET_PATH = 107  # the longest path of a socket in Linux
SOCKET = len("/torchserve-12345678/.ts.sock.9000")
FEW_FILES = 1024  # each connection is an open file
FEW_PROCESSES = 512  # Java starts about 50 threads, a worker a few per core


def disk(place: Place) -> Finding:
    """Checks that there is space and permission to write: in the run folder, for temporary files, and before setup in
    the checkout. A place where only ``make archive`` writes gives a warning."""
    found = needs(place)
    archives = place.replicas * sum(need.bytes for need in found)  # TorchServe unpacks every archive below TMPDIR
    copies = place.replicas * sum(need.bytes for need in found if need.copied)
    wanted = {"run": (place.run, LOGS + copies), "tmp": (place.temp, archives)}
    if not place.set_up:
        wanted["checkout"] = (place.root, SETUP)
    for name, (path, least) in wanted.items():
        if problem := _problem(path, least):
            return Finding(STOP, f"{problem} ({name})", _elsewhere(name))
    if SOCKET + len(str(place.temp)) > SOCKET_PATH:
        return Finding(STOP, f"{place.temp} is too long a path for the workers' sockets", _elsewhere("tmp"))
    if problem := _problem(place.store, BUILD):
        return Finding(WARN, f"{problem} (store, for make archive)", _elsewhere("store"))
    rooms = {**{name: path for name, (path, _) in wanted.items()}, "store": place.store}
    return Finding(OK, ", ".join(f"{name} {size(_free(path))}" for name, path in rooms.items()) + " free")


def _problem(path: Path, least: float) -> str | None:
    if not os.access(_existing(path), os.W_OK | os.X_OK):
        return f"{path} is not writable"
    return f"{path}: {size(_free(path))} free, {size(least)} needed" if _free(path) < least else None


def _existing(path: Path) -> Path:
    return next(each for each in [path, *path.absolute().parents] if each.exists())


def _free(path: Path) -> float:
    found = os.statvfs(_existing(path))
    return float(found.f_bavail * found.f_frsize)


def _elsewhere(name: str) -> str:
    variable = {"store": "MODEL_STORE", "run": "RUN_DIR", "tmp": "TMPDIR"}.get(name)
    return f"set {variable} to another folder, or make room" if variable else "use another folder, or make room"


def memory(place: Place) -> Finding:
    """Compares the memory of the machine or of its control group with the needs of Java and the store's workers."""
    found = needs(place)
    least = place.replicas * (JAVA + sum(map(_worker_bytes, found)))
    limit = Groups(place.cgroup, place.proc).memory()
    machine = _meminfo(place.proc, "MemTotal")
    total, whose = (limit, "control group's limit") if limit and limit < machine else (machine, "machine's memory")
    each = f" of each of {place.replicas} replicas" if place.replicas > 1 else ""
    text = f"the store's {sum(need.workers for need in found)} workers and Java{each} take about {size(least)}"
    if least > total:
        return Finding(STOP, f"{text}; the {whose} is {size(total)}", _fewer(place))
    free = min(total, _meminfo(place.proc, "MemAvailable"))
    if least > free and not (place.run / "server.json").exists():
        return Finding(WARN, f"{text}; {size(free)} are free now", f"end other programs, or {_fewer(place)}")
    return Finding(OK, f"{size(total)} ({whose}); {text}")


def _fewer(place: Place) -> str:
    return "serve fewer: MODELS=..., VARIANTS=..." + (", REPLICAS=..." if place.replicas > 1 else "")


def _worker_bytes(need: Need) -> float:
    weights = need.bytes if need.device == "cpu" else 0  # a worker on a GPU holds the weights there
    return need.workers * (WORKER.get(need.runtime, TORCH_WORKER) + weights + need.pixels * DECODING)


def _meminfo(proc: Path, key: str) -> float:
    for line in (proc / "meminfo").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return float(line.split()[1]) * 1024
    return float("inf")


def cores(place: Place) -> Finding:
    """Compares the cores that workers see with a quota. A worker starts a thread for each core that it sees, unless
    models.toml or the catalog sets a number."""
    visible, quota = len(os.sched_getaffinity(0)), Groups(place.cgroup, place.proc).cores()
    found = needs(place)
    workers, threads = (
        place.replicas * count
        for count in (sum(need.workers for need in found), sum(need.workers * need.threads for need in found))
    )
    if quota and quota < visible:
        return Finding(
            WARN, f"a quota of {quota:g} cores with {visible} visible: workers start {visible} threads each and wait",
            "give whole cores: taskset, or docker run --cpuset-cpus=0-1 in place of --cpus=2",
        )  # fmt: skip
    shared = f" for {workers} workers with {threads} threads together" if workers else ""
    return Finding(OK, f"{visible}{shared}")


def limits(place: Place) -> Finding:
    """Checks the limits of open files and processes."""
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)  # Java raises its own limit to the hard limit
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    bounds = [limit for limit in (soft, Groups(place.cgroup, place.proc).processes()) if limit and limit > 0]
    processes = min(bounds, default=None)
    if 0 < files < FEW_FILES:
        return Finding(WARN, f"{files} open files at most, and each connection takes one", "ulimit -n 65536")
    if processes is not None and processes < FEW_PROCESSES:
        return Finding(WARN, f"{processes} processes and threads at most", "ulimit -u, or docker run --pids-limit")
    unlimited = "any number of"
    return Finding(OK, f"{files if files > 0 else unlimited} open files, {processes or unlimited} processes")
