"""``make serve ENGINE=ray`` on one machine, and its ``make status``. The record and the folders are those of every
start.

``make stop`` needs no code here: Ray's processes carry the environment of the start, or end with one that does.
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from deploy.ray.configuration import Layout, share
from deploy.ray.settings import address, check, watch
from deploy.ray.tokens import renew
from serving.client import Client
from serving.config import ROOT, Config
from serving.environment import usable_cores, worker_environment
from serving.errors import ServingError
from serving.identity import read_config
from serving.plan import Plan
from serving.request_log import RequestLog
from serving.server import require_free
from serving.state import LOGS, OWN, RunDirectory, State
from serving.temp_folder import make
from serving.warm_up import Example
from tsi_client import Error

ENGINE = "ray"
LAUNCH_TIMEOUT_S = 10.0
START_TIMEOUT_S = 600
TOKEN_MINUTES = 60.0


def start(config: Config, run: RunDirectory, plan: Plan) -> State:
    """Launches Ray with the plan's archives; returns once its process runs. Raises ServingError."""
    if importlib.util.find_spec("ray") is None:
        raise ServingError("Ray is not installed; run: make serve ENGINE=ray without PYTHON=, or pip install '.[ray]'")
    for notice in check(config, plan):
        print(f"  {notice}", flush=True)
    ports = {address(config, key)[1]: key for key in ("inference_address", "metrics_address")}
    require_free(ports)
    told = watch(config, os.environ, run.logs)
    cores = usable_cores()
    layout = Layout(plan, config, share(plan, cores), key_file=str(run.key_file), watch=told)
    document = layout.document()
    run.create()
    run.clear()
    shutil.rmtree(run.logs, ignore_errors=True)
    run.create()
    if log := RequestLog.of(config.properties, config.path.resolve().parent, run.logs):
        log.check()
    temp, held = make()
    try:
        state = State(temp, str(config.path), list(ports), plan.archives, [], plan.settings, engine=ENGINE)
        run.write(state)  # before the launch: if this process is killed now, the next verb finds what it started
        minutes = float(config.properties.get("token_expiration_min") or TOKEN_MINUTES)
        renew(run.key_file, minutes)
        asked = {"document": document, "cores": cores, "temp": temp, "key_file": str(run.key_file),
                 "token_minutes": minutes}  # fmt: skip
        (run.path / "ray.json").write_text(json.dumps(asked, indent=1))
        state.pid = _launch(config, run, temp, held)
    finally:
        os.close(held)
    run.write(state)
    state.appears(LAUNCH_TIMEOUT_S)
    return state


def _launch(config: Config, run: RunDirectory, temp: str, held: int) -> int:
    environment = {
        **worker_environment(config.properties.get("blacklist_env_vars", "")),
        OWN: temp, "TMPDIR": temp, LOGS: str(run.logs), "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_COLOR_PREFIX": "0",
        # The token of Ray's own ports, which run code. Without it, Ray writes a token to the user's home.
        "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }  # fmt: skip
    with run.console.open("wb") as console:
        return subprocess.Popen(
            [sys.executable, "-m", "deploy.ray.local", str(run.path / "ray.json")], cwd=ROOT, env=environment,
            stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT, start_new_session=True,
            pass_fds=[held],
        ).pid  # fmt: skip


def wait_until_ready(state: State, run: RunDirectory, client: Client, report: Callable[[str], Any]) -> None:
    """Returns when every archive has a warm replica. Raises ServingError when Ray ends or when a replica cannot load
    its archive."""
    deadline, waiting = time.monotonic() + START_TIMEOUT_S, set(state.archives)
    while waiting:
        if not state.running():
            raise ServingError(f"Ray Serve ended while starting; see: {run.console}")
        if cause := _failure(run.console):
            raise ServingError(f"A replica could not load: {cause}")
        if time.monotonic() > deadline:
            raise ServingError(f"{', '.join(sorted(waiting))}: no replica is ready after {START_TIMEOUT_S} s")
        for name in sorted(waiting):
            if ready(client, name):
                waiting.remove(name)
                report(f"{name} is ready")
        time.sleep(0.3)
    state.ready = True
    run.write(state)


def ready(client: Client, name: str) -> bool:
    """Whether a replica of the archive is warm."""
    try:
        return client.inference.request("GET", f"/v2/models/{name}/ready").ok
    except Error:  # the front does not listen yet
        return False


def _failure(console: Path) -> str:
    """The error of a replica that could not start, in one line; "" if there is none."""
    lines = console.read_text(errors="replace").splitlines()
    at = next((number for number, line in enumerate(lines) if "Exception in constructor" in line
               or ("failed to start" in line and "replica" in line.lower())), None)  # fmt: skip
    if at is None:
        return ""
    said = [line for line in lines[at:] if "Error" in line and ":" in line]
    return (said[0] if said else lines[at]).strip()[:300]


def example_of(client: Client, plan: Plan, name: str) -> Example:
    """The archive's own example, after it was answered. Raises ServingError if the answer is an error."""
    example = Example.of({"customizedMetadata": read_config(plan.store / f"{name}.mar")[1]["archive"]})
    if not example.is_here():
        return example
    reply = client.predict(name, example.body(), example.content_type)
    if not reply.ok:
        raise ServingError(f"{name} answers its own example with {reply.status_code}: {reply.text[:200]}")
    return replace(example, answer=reply.text)


def show(run: RunDirectory, state: State, client: Client) -> int:
    """Prints a line per archive; 0 when all answer."""
    answering = {name: ready(client, name) for name in state.archives}
    for name, yes in answering.items():
        print(f"{name}: {'a replica is warm' if yes else f'no replica is warm; see: {run.console}'}")
    return 0 if all(answering.values()) else 1
