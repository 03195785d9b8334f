"""make status: prints the server's address and uptime, and a line per archive. For a missing worker it prints since
when, why, and what to do.

TorchServe starts a dead worker again by itself, after a pause that grows with each failure. Knows the server's answers,
its logs and its folders.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from serving.client import Client
from serving.config import Config
from serving.errors import ServingError
from serving.recovery import outage
from serving.start_lock import START, holder
from serving.state import RunDirectory, State
from serving.worker_log import failure

NOT_OURS = "not built here"
RESTART = "run: make stop serve"
NO_WEIGHTS = "none:"  # the description of an archive without weights
UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
_FOLDER = re.compile(r'\(in directory "([^"]+)"\)')


def show(replicas: Callable[[RunDirectory, State], int | None] = lambda run, state: None) -> int:
    """Prints the status; 0 when all archives answer, 1 otherwise. ``replicas`` prints it for replicas, and returns None
    for a single server."""
    run = RunDirectory.default()
    state, starter = run.read(), holder(run.lock)
    if starter and starter[0] == START:
        print(f"TorchServe is being started (make serve, pid {starter[1]})")
        return 1
    if state is None or not state.running():
        print(_not_running(run, state))
        return 1
    if (several := replicas(run, state)) is not None:
        return several
    config = Config.load()
    with suppress(psutil.NoSuchProcess):  # each line below then reports that nothing answers
        up = up_for(time.time() - psutil.Process(state.pid).create_time())
        print(f"{config.inference} (pid {state.pid}), up for {up}")
    client = Client(config, run.key_file, timeout_s=30)
    if state.engine == "ray":
        from deploy.ray.start import show as show_ray

        return show_ray(run, state, client)
    healthy = [line(client, run, state, name) for name in state.archives]
    if not Path(state.temp, "models").is_dir():
        print(f"The unpacked archives are gone from {state.temp}: no worker can start again; {RESTART}")
        return 1
    return 0 if all(healthy) else 1


def up_for(seconds: float) -> str:
    """A time in its two largest units: "40 s", "12 min 40 s", "3 d 0 h"."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in UNITS:
        if left >= size or parts or size == 1:
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(parts[:2])


def _not_running(run: RunDirectory, state: State | None) -> str:
    left = ", ".join(str(process.pid) for process in run.processes())
    if state is None and run.record.exists():
        return f"{run.record} is damaged; run: make stop, which ends what was started here"
    if state is None and left:
        return f"Processes of a server that is not on record run (pid {left}); run: make stop"
    if state is None:
        return "TorchServe is not running; run: make serve"
    return "TorchServe has died; run: make serve, which clears up after it"


def line(client: Client, run: RunDirectory, state: State, name: str, indent: str = "") -> bool:
    """Prints the line of an archive; returns whether all its workers answer."""
    foreign = name in state.foreign
    try:
        described = client.registration(name)
        if _ready(described) and not foreign:  # only archives of this project are known to answer a describe request
            described = client.describe(name)
    except ServingError as error:
        print(f"{indent}{name}: does not answer ({error})")
        return False
    workers, ready = described["workers"], _ready(described)
    origin = f" ({NOT_OURS})" if foreign else _weights(described)
    version = described["modelVersion"]
    print(f"{indent}{name}: version {version}, {ready}/{len(workers)} workers ready{origin}")
    _others(client, name, version)
    if workers and ready == len(workers):
        return True
    print(f"{indent}  {why(run, name, version)}")
    return False


def _others(client: Client, name: str, version: str) -> None:
    """Prints the versions that are registered beside the default: during a rollout, or after one that was killed."""
    with suppress(ServingError):
        for other, described in client.versions(name).items():
            if other != version:
                ready = f"{_ready(described)}/{len(described['workers'])} workers ready"
                print(f"  beside it: version {other}, {ready}; make rollout ends with one of the two")


def _weights(described: dict[str, Any]) -> str:
    weights = (described.get("customizedMetadata") or {}).get("weights") or NO_WEIGHTS
    return "" if weights.startswith(NO_WEIGHTS) else f", weights {weights.removesuffix(' weights')}"


def why(run: RunDirectory, name: str, version: str | None = None) -> str:
    """A sentence on a missing worker: since when, why, and what to do."""
    found = outage(run.logs / "ts_log.log", name, version)
    if found is None:
        return f"why, is not in {run.logs}; {RESTART}"
    since = f"a worker is missing since {found.since:%Y-%m-%d %H:%M:%S}"
    folder = _FOLDER.search(found.reason)
    if folder and not Path(folder[1]).is_dir():
        return f"{since}: its unpacked archive, {folder[1]}, is gone; {RESTART}"
    reason = failure(run.model_log, name, found.since, version) or found.reason or "its process was ended from outside"
    if found.next_try is None:
        return f"{since}: {reason}; TorchServe has given up; {RESTART}"
    again = f"tries again at {found.next_try:%H:%M:%S}" if found.next_try > datetime.now() else "is starting it again"
    return f"{since}: {reason}; TorchServe {again}; to restart all at once, {RESTART}"


def _ready(described: dict[str, Any]) -> int:
    return sum(worker["status"] == "READY" for worker in described["workers"])
