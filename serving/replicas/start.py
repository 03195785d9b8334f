"""Starts the replicas, their balancer and their keeper, and stops them."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from serving.client import Client
from serving.config import ADDRESSES, CONNECTIONS, GRPC_PORT, GRPC_PORTS, Config
from serving.errors import ServingError
from serving.identity import read_config
from serving.model_folder import changed
from serving.plan import Plan
from serving.replicas import certificate, haproxy
from serving.replicas.asked import Asked
from serving.replicas.group import Group, Replica, folder
from serving.replicas.haproxy import Balancer, Bounds
from serving.server import require_free, start, stop, wait_until_ready
from serving.state import LOGS, OWN, ROOT, RunDirectory, State
from serving.temp_folder import make
from serving.warm_up import warm_up

Say = Callable[[str], Any]
MOST_CONNECTIONS = 1000  # for a config that sets none; the front end has the same number (Settings.java)
QUEUE, TIMEOUT_S = ("job_queue_size", 100), ("default_response_timeout", 120)  # and TorchServe's own defaults
BALANCED = ("inference_address", GRPC_PORT, "metrics_address")  # HAProxy takes these ports of the config
SPARE_FILES = 250  # for HAProxy itself, and for the hundred connections to its metrics and its API
MARGIN_S = 60  # for a request that waits before it is answered


def start_group(run: RunDirectory, asked: Asked, plan: Plan, say: Say) -> Group:
    """Starts everything and returns when each replica is warm and HAProxy sends requests. The caller holds the lock and
    calls stop_all if this raises."""
    config = Config.load()
    haproxy.program()  # before anything is started
    ports = {port: key for port, key in config.ports().items() if key in BALANCED}
    require_free(ports)
    run.clear()
    for path in (run.logs, folder(run), haproxy.folder(run)):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(mode=0o700)
    temp, held = make()
    os.close(held)  # HAProxy takes a lock of its own
    state = State(temp, str(config.path), list(ports), plan.archives, plan.foreign, plan.settings)
    run.write(state)  # before the launch, as for a server alone
    group = Group(run, config.path, asked, _free_ports(asked.replicas), _certificate(run, asked))
    group.write()
    group.tokens().make()
    configure(group, temp, plan)  # first, since it finds a wrong certificate
    _start_replicas(group, plan, say)
    state.pid, state.ready = haproxy.launch(run, temp), True
    run.write(state)
    group = group.with_keeper(_start_keeper(group, temp))
    group.write()
    return group


def _free_ports(replicas: int) -> list[list[int]]:
    """The five ports of each replica."""
    with ExitStack() as stack:
        def port() -> int:
            probe = stack.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

        return [[port() for _ in (*ADDRESSES, *GRPC_PORTS)] for _ in range(replicas)]


def _certificate(run: RunDirectory, asked: Asked) -> str:
    """Writes the file that HAProxy reads. Returns the certificate if it was made here."""
    if not asked.tls:
        return ""
    here = haproxy.folder(run)
    given = (asked.certificate, asked.key) if asked.certificate and asked.key else None
    files = given or certificate.self_made(here, asked.host)
    certificate.write(certificate.joined(*files), haproxy.certificate_file(run))
    return "" if given else str(files[0])


def _start_replicas(group: Group, plan: Plan, say: Say) -> None:
    """Starts all at once: most of a start is the workers' loading of the model."""
    replicas = group.replicas()
    states = []
    for replica in replicas:
        states.append(_launch(replica, plan))
    for replica, state in zip(replicas, states, strict=True):
        await_warm(replica, state, plan, lambda text, name=replica.name: say(f"{name}: {text}"))  # type: ignore[misc]


def _launch(replica: Replica, plan: Plan) -> State:
    replica.config.path.write_text("".join(f"{key}={value}\n" for key, value in replica.config.properties.items()))
    return start(replica.config, replica.run, plan)


def await_warm(replica: Replica, state: State, plan: Plan, say: Say) -> None:
    """Returns when a launched replica answers every archive's example. Raises ServingError."""
    client = Client(replica.config, replica.run.key_file)
    wait_until_ready(state, replica.run, client, say)
    warm_up(client, plan.ours)


def start_again(replica: Replica, plan: Plan, say: Say) -> None:
    """Stops the rest of a replica, and starts it with the plan's archives; returns when it is warm. If it raises
    ServingError, nothing of the replica runs."""
    stop(replica.run, say)
    try:
        await_warm(replica, _launch(replica, plan), plan, say)
    except BaseException:
        stop(replica.run, say, at_once=True)
        raise


def balance(group: Group, state: State, plan: Plan) -> bool:
    """Replaces HAProxy if its config has changed, and returns whether it has. No connection is refused meanwhile, and
    none is closed without an answer. Raises ServingError."""
    if not configure(group, state.temp, plan):
        return False
    state.pid = haproxy.launch(group.run, state.temp, successor_of=state.pid)
    group.run.write(state)
    return True


def configure(group: Group, temp: str, plan: Plan) -> bool:
    """Writes HAProxy's config; returns whether it has changed. Raises ServingError."""
    given, asked = group.given(), group.asked
    served = {name: _settings(plan, name) for name in plan.archives}
    queue, timeout = (int(given.properties.get(key) or default) for key, default in (QUEUE, TIMEOUT_S))
    host = f"[{asked.host}]" if ":" in asked.host else asked.host
    return haproxy.write_config(group.run, temp, Balancer(
        bind=f"{host}:{asked.port}",
        grpc=f"{host}:{given.grpc_port}",
        metrics=urlsplit(given.properties.get("metrics_address") or given.metrics).netloc,
        certificate=str(haproxy.certificate_file(group.run)) if asked.tls else "",
        addresses=[urlsplit(each.config.inference).netloc for each in group.replicas()],
        grpc_addresses=[f"127.0.0.1:{each.config.grpc_port}" for each in group.replicas()],
        archives=[Bounds(name, int(each.get("jobQueueSize") or queue)) for name, each in served.items()],
        connections=connections(given),
        seconds=MARGIN_S + 2 * max([timeout, *(int(each.get("responseTimeout") or 0) for each in served.values())]),
        token=group.tokens().balancers(),
    ))  # fmt: skip


def connections(given: Config) -> int:
    """The most connections of HAProxy: the config's number, or as many as the limit of open files allows. HAProxy needs
    two files for each, and does not start with too few."""
    asked = int(given.properties.get(CONNECTIONS) or MOST_CONNECTIONS)
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    return asked if files == resource.RLIM_INFINITY else min(asked, max(1, files // 2 - SPARE_FILES))


def _settings(plan: Plan, name: str) -> dict[str, Any]:
    """The served model-config.yaml of the archive."""
    return changed(read_config(plan.store / f"{name}.mar")[1], plan.settings.get(name, {}), delay_unit_us=1)


def _start_keeper(group: Group, temp: str) -> int:
    """Starts the keeper. It counts as a process of this start, like HAProxy."""
    environment = {**os.environ, OWN: temp, LOGS: str(group.run.logs), "RUN_DIR": str(group.run.path),
                   "CONFIG": str(group.config.resolve()), "PYTHONUNBUFFERED": "1"}  # fmt: skip
    with (group.run.logs / "keeper.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "serving.replicas"], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
            stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        ).pid  # fmt: skip


def stop_all(run: RunDirectory) -> bool:
    """Stops the server of this run folder, or the keeper, the balancer and all replicas. Returns whether one was
    running. Raises ServingError if a process survives."""
    if not run.is_ours():
        return False
    # The keeper first, since it would start replicas again.
    running = stop(run, at_once=Group.read(run) is not None)
    return _stop_each(sorted(folder(run).glob("*/"))) or running


def _stop_each(paths: Iterable[Path]) -> bool:
    with ThreadPoolExecutor() as pool:
        return any(list(pool.map(lambda path: stop(RunDirectory(path)), [path for path in paths if path.is_dir()])))


def plan_on_record(store: Path, state: State, digests: dict[str, str]) -> Plan:
    """The plan on record, for a replica that is started again. Raises ServingError if the store has other archives now:
    the other replicas do not serve them."""
    other = [name for name, digest in state.archives.items() if digests.get(name) != digest]
    if other:
        raise ServingError(f"{', '.join(other)} in {store} is not what the other replicas serve; run: make restart")
    return Plan(store, dict(state.archives), list(state.foreign), dict(state.settings))
