"""A Ray cluster of several machines on one: each node has its own network, processes and Ray folder, by namespaces, on
a bridge of this machine. Needs root, util-linux and iproute2."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

import psutil
import requests
import yaml

import tsi_client
from serving.store import publish
from tests.conftest import ROOT, run, write_config
from tests.trust.place import rewrite

NETWORK, PORT, DASHBOARD = "10.214.77", 8080, 8265
BRIDGE = f"rb{os.getpid() % 100_000}"
STORE_BYTES, CPUS = 100 << 20, 2
RAY_TOKEN = "a0" * 32  # for Ray's dashboard and nodes
AUTHENTICATION = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": RAY_TOKEN}
# How soon Ray gives up a node that does not answer: after 3 failures.
HEALTH = {
    "RAY_health_check_initial_delay_ms": "1000", "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000", "RAY_health_check_failure_threshold": "3",
}  # fmt: skip


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Node:
    """One machine of the cluster; number 1 is the head."""

    def __init__(self, number: int, folder: Path) -> None:
        self.name, self.address = f"{BRIDGE}n{number}", f"{NETWORK}.{number}"
        self._folder, self._head = folder / f"node{number}", number == 1
        self._folder.mkdir()
        ip("netns", "add", self.name)
        ip("link", "add", self.name, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        ip("link", "set", self.name, "master", BRIDGE, "up")
        ip("-n", self.name, "addr", "add", f"{self.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", self.name, "link", "set", device, "up")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Runs ``ray start`` as process 1 of the node."""
        scripts = [sys.executable, "-c", "import sys; from ray.scripts.scripts import main; sys.exit(main())", "start"]
        joins = ["--head", "--port=6379", f"--dashboard-host={self.address}"] if self._head else [
            f"--address={NETWORK}.1:6379"]  # fmt: skip
        command = [*scripts, *joins, f"--node-ip-address={self.address}", f"--num-cpus={CPUS}", "--block",
                   f"--object-store-memory={STORE_BYTES}", "--disable-usage-stats"]  # fmt: skip
        (self._folder / "ray").mkdir()
        script = f"mkdir -p /tmp/ray; mount --bind {self._folder}/ray /tmp/ray; exec {shlex.join(command)}"
        # Ray's sockets are below /tmp, since the path of a socket may have 107 characters.
        environment = {**os.environ, **HEALTH, **AUTHENTICATION, "PYTHONPATH": str(ROOT), "TMPDIR": "/tmp",
                       "OMP_WAIT_POLICY": "PASSIVE"}  # fmt: skip
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["ip", "netns", "exec", self.name, "unshare", "--mount", "--pid", "--fork", "--kill-child",
                 "--mount-proc", "sh", "-ec", script],
                cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def kill(self) -> None:
        """Acts like a power failure: no packet leaves the node any more, and all its processes end at once."""
        with suppress(subprocess.CalledProcessError):
            ip("link", "set", self.name, "down")
        if self._process:
            for each in psutil.Process(self._process.pid).children() if self._process.poll() is None else []:
                each.kill()  # process 1: its namespace ends with it
            self._process.kill()
            self._process.wait()

    def remove(self) -> None:
        self.kill()
        for kind in ("link", "netns"):
            subprocess.run(["ip", kind, "del", self.name], check=False, capture_output=True)


class Cluster:
    """Three nodes. At the end of the ``with`` block nothing of them is left."""

    def __init__(self, folder: Path, nodes: int = 3) -> None:
        self._folder, self._count, self.nodes = folder, nodes, []
        self._head = f"http://{NETWORK}.1:{DASHBOARD}/api"
        self._api = f"{self._head}/serve/applications/"
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {RAY_TOKEN}"

    def __enter__(self) -> Cluster:
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("addr", "add", f"{NETWORK}.254/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        for number in range(1, self._count + 1):
            self.nodes.append(Node(number, self._folder))
            self.nodes[-1].start()
            until(self._dashboard, 120) if number == 1 else None
        until(lambda: self.alive() == self._count, 120)
        return self

    def __exit__(self, *error: object) -> None:
        for each in reversed(self.nodes):
            each.remove()
        subprocess.run(["ip", "link", "del", BRIDGE], check=False)

    def _dashboard(self) -> bool:
        with suppress(requests.RequestException):
            return self._session.get(f"{self._head}/version", timeout=5).ok
        return False

    def alive(self) -> int:
        found = self._session.get(f"{self._head}/v0/nodes", timeout=30).json()
        return sum(each["state"] == "ALIVE" for each in found["data"]["result"]["result"])

    def deploy(self, document: dict) -> None:
        """Acts like ``serve deploy``. Ray gives its controller 30 s to start, which a busy machine may exceed."""
        until(lambda: self._session.put(self._api, json=document, timeout=60).ok, 120)

    def applications(self) -> dict:
        """Ray's status of each application."""
        return self._session.get(self._api, timeout=30).json()["applications"]

    def replicas(self, name: str) -> list[dict]:
        """The running replicas of an archive."""
        found = self.applications()[name]["deployments"].get("Model", {}).get("replicas", [])
        return [each for each in found if each["state"] == "RUNNING"]


def until(condition, seconds: float):
    """Waits for the condition."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.5)
    return found


class Load:
    """Clients that send one request after the other, with a pause only for ``rate``. Each uses the project's client
    with its retries. If a machine gives no answer, the client asks the next one. A request fails without an answer in
    ``patience_s``."""

    def __init__(self, addresses: list[str], token: str, requests_: list[tuple[str, bytes]], clients: int, rate: float,
                 patience_s: float = 60) -> None:  # fmt: skip
        self._addresses, self._token, self._requests = addresses, token, requests_
        self._pause, self._patience_s = clients / rate, patience_s
        self.answers: Counter[tuple[str, str]] = Counter()  # by model and version
        self.failed: list[str] = []
        self.retried, self.slowest_s = 0, 0.0
        self._end = Event()
        self._threads = [Thread(target=self._ask, args=(number,)) for number in range(clients)]

    def __enter__(self) -> Load:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        for each in self._threads:
            each.join()

    def _ask(self, number: int) -> None:
        clients = [tsi_client.Client(f"http://{each}:{PORT}", self._token, retries=1, timeout=8, trust_env=False)
                   for each in self._addresses]  # fmt: skip
        at = turn = number
        while not self._end.is_set():
            name, body = self._requests[turn % len(self._requests)]
            turn, began = turn + 1, time.monotonic()
            while True:
                try:
                    reply = clients[at % len(clients)].request(
                        "POST", f"/predictions/{name}", content=body, headers={"Content-Type": "text/plain"}
                    )
                    said = "" if reply.ok else f"{reply.status_code} {reply.text[:200]}"
                    again = reply.status_code == 503
                except (tsi_client.ConnectionFailed, tsi_client.Timeout) as error:
                    said, again = type(error).__name__, True
                if not said or not again or time.monotonic() - began > self._patience_s:
                    break
                self.retried, at = self.retried + 1, at + 1
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            if said:
                self.failed.append(f"{name}: {said}")
            else:
                self.answers[name, reply.headers["x-model-version"]] += 1
            self._end.wait(self._pause)


def document(folder: Path, store: Path, nodes: int, **environment: str) -> dict:
    """What ``python -m deploy.ray`` prints for these archives, with a token file that every node can read."""
    token = folder / "token"
    if not token.exists():
        token.write_text("t" * 40 + "\n")
    config = write_config(folder / "config.properties", inference_address=f"http://0.0.0.0:{PORT}",
                          inference_token_file=str(token))  # fmt: skip
    made = run("deploy.ray", CONFIG=str(config), MODEL_STORE=str(store), NODES=str(nodes), **environment)
    assert made.returncode == 0, made.stderr
    found: dict = yaml.safe_load(made.stdout)
    return found


def reversioned(archive: Path, folder: Path, version: str) -> Path:
    """The archive as another version, in a separate store."""
    folder.mkdir()
    aside = folder / "copy"
    aside.write_bytes(archive.read_bytes())
    publish(aside, folder / archive.name)

    def change(name: str, data: bytes) -> bytes:
        if name != "MAR-INF/MANIFEST.json":
            return data
        manifest = json.loads(data)
        manifest["model"]["modelVersion"] = version
        return json.dumps(manifest).encode()

    rewrite(folder / archive.name, change)
    return folder / archive.name
