"""HAProxy: finds the program, writes and checks its config, starts it, and replaces it by one with another config.

Knows HAProxy's files and options, and nothing of archives but their names and bounds.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from serving.errors import ServingError
from serving.replicas import canary
from serving.replicas.program import INSTALL, find
from serving.replicas.runtime import SOCKET, Runtime
from serving.state import LOGS, OWN, RunDirectory

TEMPLATE = "haproxy.cfg.j2"
START_TIMEOUT_S = 10


@dataclass(frozen=True)
class Bounds:
    """One archive: the most requests that a replica holds of it."""

    archive: str
    requests: int


@dataclass(frozen=True)
class Balancer:
    """The values of the config. Clients connect to ``bind`` and ``grpc``. ``addresses`` and ``grpc_addresses`` are
    those of each replica. All are "host:port". ``seconds`` is longer than any answer takes. ``token`` is for the
    replicas' health checks; empty if they need none."""

    bind: str
    grpc: str
    metrics: str
    certificate: str
    addresses: Sequence[str]
    grpc_addresses: Sequence[str]
    archives: Sequence[Bounds]
    connections: int
    seconds: int
    token: str


def program() -> str:
    """The path of HAProxy. Raises ServingError if it is not installed."""
    if found := find():
        return found
    raise ServingError(f"REPLICAS, TLS and BIND need HAProxy, which is not installed; run: {INSTALL}")


def folder(run: RunDirectory) -> Path:
    """The folder with HAProxy's config and certificate."""
    return run.path / "balancer"


def certificate_file(run: RunDirectory) -> Path:
    """The certificate and its key, as HAProxy reads them."""
    return folder(run) / "served.pem"


def config_file(run: RunDirectory) -> Path:
    """HAProxy's config."""
    return folder(run) / "haproxy.cfg"


def write_config(run: RunDirectory, temp: str, balancer: Balancer) -> bool:
    """Writes the config if HAProxy accepts it; otherwise the old one stays. Returns whether it has changed. Raises
    ServingError."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # here, since all verbs import this module

    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        autoescape=False,  # the text is not HTML
    )  # fmt: skip
    shares = canary.file(temp)
    shares.touch(mode=0o600)  # HAProxy does not start without it
    text = templates.get_template(TEMPLATE).render(balancer=balancer, socket=Path(temp, SOCKET), shares=shares)
    target = config_file(run)
    if target.exists() and target.read_text() == text:
        return False
    partial = target.with_suffix(".part")
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    _check(partial)
    partial.replace(target)
    return True


def _check(path: Path) -> None:
    done = subprocess.run([program(), "-c", "-f", str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        alerts = [line for line in done.stderr.splitlines() if "[ALERT]" in line]
        said = (alerts or done.stderr.splitlines() or ["?"])[0].partition(" : ")[2]
        raise ServingError(f"HAProxy ({program()}) refuses its config, {path}: {said}")


def launch(run: RunDirectory, temp: str, successor_of: int = 0) -> int:
    """Starts HAProxy and returns its pid once it answers. ``successor_of`` is the pid of the HAProxy that it replaces:
    it takes over the sockets. The old one closes each connection after the next answer, or after a minute without a
    request, and then ends. Raises ServingError."""
    socket = Path(temp, SOCKET)
    over = ["-x", str(socket), "-sf", str(successor_of)] if successor_of else []
    environment = {"PATH": os.environ.get("PATH", os.defpath), OWN: temp, LOGS: str(run.logs)}
    held = os.open(temp, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Cleaners of /tmp skip a folder that is locked (serving/temp_folder.py). A successor shares the lock.
        fcntl.flock(held, fcntl.LOCK_SH)
        with log(run).open("ab") as events, _messages(run).open("wb") as messages:
            started = subprocess.Popen(
                [program(), "-db", "-f", str(config_file(run)), *over], cwd=run.path, env=environment,
                stdin=subprocess.DEVNULL, stdout=events, stderr=messages, start_new_session=True, pass_fds=[held],
            )  # fmt: skip
    finally:
        os.close(held)
    _await(started, Runtime(temp), run)
    Path(temp, ".model_server.pid").write_text(str(started.pid))  # make doctor sees from it that the folder is in use
    return started.pid


def _await(started: subprocess.Popen[bytes], runtime: Runtime, run: RunDirectory) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while runtime.pid() != started.pid:
        if started.poll() is not None or time.monotonic() > deadline:
            lines = _messages(run).read_text(errors="replace").splitlines()
            raise ServingError(f"HAProxy does not run: {lines[-1] if lines else 'it printed nothing'}")
        time.sleep(0.02)


def _messages(run: RunDirectory) -> Path:
    """The file with HAProxy's messages at its start. Later it gets the lines of the log without times."""
    return folder(run) / "messages"


def log(run: RunDirectory) -> Path:
    """The file with HAProxy's messages: replicas that come and go, no requests."""
    return run.logs / "balancer.log"


def alive(pid: int) -> bool:
    """Whether the process runs and is not a zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
