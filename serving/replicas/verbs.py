"""The verbs serve, status, logs, token and restart for replicas."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from serving.config import Config
from serving.errors import ServingError
from serving.plan import Plan
from serving.replicas import show
from serving.replicas.asked import Asked
from serving.replicas.group import Group, folder
from serving.replicas.restart import restart
from serving.replicas.start import start_group
from serving.state import RunDirectory, State


def begin(run: RunDirectory, asked: Asked, plan: Plan) -> State:
    """Starts the replicas and prints example requests. Raises ServingError, and leaves the cleanup to stop_all."""
    began = time.monotonic()
    many = f"{asked.replicas} replicas" if asked.replicas > 1 else "one replica"
    print(f"Starting {many} of TorchServe behind HAProxy with {', '.join(plan.archives)}", flush=True)
    for notice in plan.notices:
        print(f"  {notice}", flush=True)
    group = start_group(run, asked, plan, lambda text: _progress(began, text))
    print(f"Ready after {time.monotonic() - began:.1f} s. Send it a request, from this folder:\n")
    show.requests(group, plan)
    sys.stdout.flush()
    _write_targets(group)
    state = run.read()
    assert state is not None
    return state


def _progress(began: float, text: str) -> None:
    print(f"  {time.monotonic() - began:5.1f} s  {text}", flush=True)


def _write_targets(group: Group) -> None:
    """The replicas' metrics, in the form of Prometheus' file_sd_configs."""
    targets = [
        {"targets": [each.config.metrics.partition("//")[2]], "labels": {"replica": each.name}}
        for each in group.replicas()
    ]
    (folder(group.run) / "targets.json").write_text(json.dumps(targets, indent=2) + "\n")


def differs(run: RunDirectory, asked: Asked | None) -> str:
    """The difference between the running server and the wanted one, as the end of a sentence; empty if there is
    none."""
    group = Group.read(run)
    if (group.asked if group else None) == asked:
        return ""
    return _shown(group.asked) if group else "no balancer before it"


def _shown(asked: Asked) -> str:
    return f"REPLICAS={asked.replicas}, at {asked.url}"


def logs(run: RunDirectory) -> list[Path]:
    """The folders with logs, the balancer's and the keeper's first."""
    return [run.logs, *sorted(path / "logs" for path in folder(run).glob("*/"))] if Group.read(run) else [run.logs]


def roll(run: RunDirectory, state: State | None, plan: Plan) -> None:
    """Restarts one replica after the other. Raises ServingError."""
    group = Group.read(run)
    if state is None or not state.ready or not state.running():
        raise ServingError("TorchServe is not running; run: make serve REPLICAS=2")
    if group is None:
        raise ServingError("A server without replicas cannot restart without an interruption; run: make stop serve, "
                           "or once: make stop serve REPLICAS=2")  # fmt: skip
    began = time.monotonic()
    for notice in plan.notices:
        print(f"  {notice}", flush=True)
    restart(group, state, plan, lambda text: _progress(began, text))
    print(f"All {group.asked.replicas} replicas have restarted after {time.monotonic() - began:.1f} s.")


def asked_for(environment: dict[str, str]) -> Asked | None:
    """The values of the variables. Raises ServingError."""
    return Asked.of(environment, Config.load())
