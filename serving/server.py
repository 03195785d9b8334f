"""Starts TorchServe, waits until it answers, stops it and makes sure that it is gone.

Knows processes, ports and readiness. The plan says which models are served.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from serving import nvml
from serving.client import Client
from serving.config import Config
from serving.environment import java_home, usable_cores, worker_environment
from serving.errors import ServingError
from serving.front_end import OFFERS, correct
from serving.front_end.shared import Shared, class_path, shared
from serving.model_folder import prepare
from serving.plan import Plan
from serving.ports import has_loopback, in_use, owner
from serving.request_log import RequestLog
from serving.state import LOGS, OWN, RunDirectory, State, await_ended
from serving.temp_folder import discard, make
from serving.tracing import Tracing
from serving.worker_log import failure

LOG4J, METRICS = (Path(__file__).with_name(name) for name in ("log4j2.xml", "metrics.yaml"))
START_TIMEOUT_S = 600
OTHERS = "; it was not built here: install what its handler needs, or leave it out with MODELS="
STOP_TIMEOUT_S, KILL_TIMEOUT_S = 20, 5
REST_S = 4  # of these, for processes that outlive the first one; the exporter of spans takes 3 s at most
LAUNCH_TIMEOUT_S = 5
# Runs TorchServe's launcher, so that Java inherits one more file descriptor, the lock of the temporary folder, and has
# the class path and the image of classes of front_end/shared.py, where there are.
LAUNCHER = """
import subprocess, sys
from ts.model_server import start
held, class_path, image = int(sys.argv.pop(1)), sys.argv.pop(1), sys.argv.pop(1)
popen = subprocess.Popen
def launch(command):
    if class_path:
        at = command.index("-cp") + 1
        command[at] = class_path + command[at].partition("*")[2]
    return popen([command[0], *([f"-XX:SharedArchiveFile={image}"] if image else []), *command[1:]], pass_fds=[held])
subprocess.Popen = launch
start()
"""
UNKNOWN = "TorchServe is not 0.12.0, so it runs without this project's limits on requests (docs/reliability.md)."


def start(config: Config, run: RunDirectory, plan: Plan) -> State:
    """Launches TorchServe with exactly the plan's archives and settings; returns once the Java process runs.

    Raises ServingError: a port is taken, Java is missing, or TorchServe ended at once.
    """
    tracing = Tracing.of(config.properties, os.environ)
    log = RequestLog.of(config.properties, config.path.resolve().parent, run.logs)
    require_free(config.ports())
    run.create()
    run.clear()
    shutil.rmtree(run.logs, ignore_errors=True)
    run.create()
    if log:
        log.check()
    kept = shared(java_home())
    corrected = bool(kept) or correct(run.path)
    if not corrected:
        print(UNKNOWN, file=sys.stderr)
    folder = prepare(run.models, plan.store, plan.archives, plan.settings, delay_unit_us=1 if corrected else 1000)
    temp, held = make()
    try:
        state = State(temp, str(config.path), list(config.ports()), plan.archives, plan.foreign, plan.settings)
        state.front_end = list(OFFERS) if corrected else []
        run.write(state)  # before the launch: if this process is killed now, the next verb finds what it started
        # TorchServe makes a URL of the first path without quoting it, and Java reads properties as Latin-1: so both
        # files are copied to a folder with a plain path.
        log4j, metrics = shutil.copy(LOG4J, temp), shutil.copy(METRICS, temp)
        effective = run.path / "config.properties"
        options = [option for each in (tracing, log) if each for option in each.java_options()] + nvml.java_options()
        effective.write_text(config.effective(folder, usable_cores(), metrics, options))
        environment = worker_environment(config.properties.get("blacklist_env_vars", ""))
        _launch(run, state, held, kept, {**environment, **(tracing.environment if tracing else {})}, [
            "--ts-config", str(effective), "--log-config", log4j, "--model-store", str(folder),
            "--models", *[f"{name}={name}.mar" for name in plan.archives],
        ])  # fmt: skip
    finally:
        os.close(held)
    if not _find_java(state):
        raise ServingError(f"TorchServe did not start: {_last_line(run.console)}")
    run.write(state)
    return state


def _launch(
    run: RunDirectory, state: State, held: int, kept: Shared | None, inherited: Mapping[str, str],
    options: Sequence[str],
) -> None:  # fmt: skip
    environment = {
        **inherited,
        "JAVA_HOME": java_home(),
        OWN: state.temp,
        "TMPDIR": state.temp,
        LOGS: str(run.logs),
        "METRICS_LOCATION": str(run.logs),
    }
    classes = [class_path(kept.classes), str(kept.image or "")] if kept else ["", ""]
    command = [sys.executable, "-c", LAUNCHER, str(held), *classes, "--start", "--ncs", *options]
    with run.console.open("wb") as console:
        launcher = subprocess.Popen(
            command, cwd=run.path, env=environment, stdin=subprocess.DEVNULL, stdout=console,
            stderr=subprocess.STDOUT, start_new_session=True, pass_fds=[held],
        )  # fmt: skip
    launcher.wait(timeout=120)


def _find_java(state: State) -> bool:
    """Adds the process that TorchServe's launcher started to the state; False if there is none."""
    try:
        state.pid = int(Path(state.temp, ".model_server.pid").read_text())
    except (OSError, ValueError):
        return False
    return state.appears(LAUNCH_TIMEOUT_S)


def require_free(ports: Mapping[int, str]) -> None:
    """Raises ServingError with the owner of a port that is in use."""
    if not has_loopback():
        raise ServingError(
            "This machine has no 127.0.0.1, which TorchServe is served on; run: ip address add 127.0.0.1/8 dev lo"
        )
    for port, key in ports.items():
        if in_use(port):
            raise ServingError(
                f"Port {port} ({key}) is in use by {owner(port)}; stop it, or change {key} in config.properties."
            )


def _last_line(path: Path) -> str:
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"


def wait_until_ready(
    state: State, run: RunDirectory, client: Client, report: Callable[[str], Any] = lambda text: None
) -> None:
    """Returns when every archive has a ready worker and the server answers for it.

    Raises ServingError with the worker's own error as soon as one cannot load.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    waiting = set(state.archives)
    while waiting:
        if not state.running():
            raise ServingError(f"TorchServe ended while starting: {_last_line(run.console)}")
        if time.monotonic() > deadline:
            raise ServingError(f"{', '.join(sorted(waiting))}: no worker is ready after {START_TIMEOUT_S} s")
        for name in sorted(waiting):
            if cause := failure(run.model_log, name):
                cure = OTHERS if name in state.foreign else ""
                raise ServingError(f"A worker of {name} could not load: {cause}{cure}")
        for name in sorted(waiting):
            if _ready(client, name):
                waiting.discard(name)
                report(f"{name} is ready ({len(state.archives) - len(waiting)}/{len(state.archives)})")
        if waiting:
            time.sleep(0.2)
    state.ready = True
    run.write(state)


def _ready(client: Client, name: str) -> bool:
    try:
        workers = client.workers(name)
    except ServingError:  # the key file, the listener or the registration does not exist yet
        return False
    return bool(workers) and all(worker["status"] == "READY" for worker in workers)


def stop(
    run: RunDirectory, report: Callable[[str], Any] = lambda text: print(text, file=sys.stderr), at_once: bool = False
) -> bool:
    """Ends the server and every worker, on record or not. Returns whether one was running. Requests under way get two
    seconds for their answers (front_end/java/frontend/Groups.java); ``at_once`` skips that and Java's shutdown.

    Prints the paths that it does not remove. Raises ServingError if a process survives.
    """
    if not run.is_ours():
        return False
    state, alive, temps = run.read(), run.processes(), run.temps()
    if state is None and run.record.exists():
        report(f"{run.record} is damaged; nothing that it names was changed.")
    if state and state.ready and not at_once:
        # Java's shutdown hook lets requests end, then the workers. If Java has ended, each worker gets its own signal.
        first = [each for each in alive if each.pid == state.pid] or alive
        _signal(first, signal.SIGTERM)
        await_ended(first, STOP_TIMEOUT_S - REST_S)
        _signal(run.renamed(), signal.SIGKILL)  # Ray's agents would outlive it by more than 20 s
        await_ended(alive, REST_S)
    else:  # it answers no requests yet, and would go on starting workers while it shuts down
        _signal(alive, signal.SIGKILL)
        await_ended(alive, KILL_TIMEOUT_S)
    _signal(run.processes(), signal.SIGKILL)
    if left := await_ended(run.processes(), KILL_TIMEOUT_S):
        raise ServingError(f"These processes of the server do not end: {', '.join(str(p.pid) for p in left)}")
    for temp in temps:
        if refusal := discard(temp):
            report(refusal)
    run.clear()
    _await_closed(state.ports if state else [])
    return bool(alive)


def _signal(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _await_closed(ports: Sequence[int]) -> None:
    for port in ports:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                raise ServingError(f"Port {port} still answers after the server was stopped: {owner(port)} holds it.")
