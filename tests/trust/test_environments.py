"""Unclean environments: make archive serve status works in them, or says in one sentence why it cannot.

Each case is real: a checkout copied to such a path, and mounts and networks in a separate namespace (root). The suite
runs all compatible cases at once. TRUST=full also runs each alone, so that a failure shows its cause.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from serving.client import Client, direct
from serving.config import Config
from tests.conftest import ROOT, write_config
from tests.trust.figures import FULL, record
from tests.trust.place import place

pytestmark = pytest.mark.served
STRANGE = "ein Pfad/çheckout ü 日本 [x]+(y) & 'q' #1 %20"
LONG = "temp folder " + "x" * 120
# Variables that would lead the copy to another place, or tell its make that it is part of the make that runs the tests.
OURS = ("CONFIG", "RUN_DIR", "MODEL_STORE", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES")
DEAD = "http://127.0.0.1:9"
PROXIES = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), DEAD)


@dataclass(frozen=True)
class Case:
    """An environment: the checkout's path, variables ({folder} is the test's own) and mounts."""

    path: str = "checkout"
    variables: dict[str, str] = field(default_factory=dict)
    mounts: tuple[str, ...] = ()
    old_files: bool = False


CASES = {
    "path": Case(path=STRANGE),
    "locale": Case(path=STRANGE, variables={"LC_ALL": "C", "LANG": "C"}),
    "home": Case(variables={"HOME": "{folder}/home"}, mounts=("mount -t tmpfs -o ro none {folder}/home",)),
    "pythonpath": Case(variables={"PYTHONPATH": "{folder}/intruder"}),
    "tmpdir": Case(variables={"TMPDIR": f"{{folder}}/{LONG}"}),
    "no_shm": Case(mounts=("mount -t tmpfs -o ro,size=4k none /dev/shm",)),
    "proxy": Case(variables=PROXIES),
    "hosts": Case(mounts=("mount --bind {folder}/hosts /etc/hosts",)),
    "clock": Case(old_files=True),
}
TOGETHER = Case(
    STRANGE,
    {key: value for case in CASES.values() for key, value in case.variables.items()},
    tuple(mount for case in CASES.values() for mount in case.mounts),
    True,
)
CHOSEN = {**CASES, "together": TOGETHER} if FULL else {"together": TOGETHER}


class Checkout:
    """A copy of the checkout's sources in the environment of ``case``."""

    def __init__(self, folder: Path, case: Case) -> None:
        self.folder, self.case, self.path = folder, case, folder / case.path
        for name in ("home", LONG, "intruder/handlers"):
            (folder / name).mkdir(parents=True)
        (folder / "intruder" / "handlers" / "__init__.py").write_text("raise RuntimeError('the wrong code')")
        (folder / "hosts").write_text("::1 localhost\n")  # and no 127.0.0.1
        for name in ("client", "export", "handlers", "serving"):
            shutil.copytree(ROOT / name, self.path / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "Makefile", self.path)
        write_config(self.path / "config.properties")
        if case.old_files:
            self._misdate()

    def _misdate(self) -> None:
        """Half of the files are from next year, half from 1970, like copies from machines with other clocks."""
        for number, path in enumerate(sorted(self.path.rglob("*"))):
            os.utime(path, (0, 0) if number % 2 else (time.time() + 365 * 86400,) * 2)

    def make(self, *verbs: str) -> subprocess.CompletedProcess[str]:
        """``make`` with these verbs, in the environment."""
        variables = {key: value.format(folder=self.folder) for key, value in self.case.variables.items()}
        mounts = [mount.format(folder=self.folder) for mount in self.case.mounts]
        script = " && ".join([*mounts, 'exec make "$@"'])
        inside = ["unshare", "--mount", "sh", "-c", script, "sh"] if mounts else ["make"]
        clean = {key: value for key, value in os.environ.items() if key not in OURS}
        return subprocess.run(
            [*inside, f"PYTHON={sys.executable}", "MODELS=null", "VARIANTS=", "DEVICE=cpu", *verbs],
            cwd=self.path, env={**clean, **variables}, capture_output=True, text=True, timeout=300,
        )  # fmt: skip


@pytest.mark.parametrize("name", CHOSEN)
def test_archive_serve_status_stop_work(name, tmp_path):
    case = CHOSEN[name]
    if case.mounts:
        require("unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt")
    checkout = Checkout(tmp_path, case)
    began = time.monotonic()
    try:
        started = checkout.make("archive", "serve")
        assert started.returncode == 0, started.stdout + started.stderr
        took = time.monotonic() - began
        assert checkout.make("status").stdout.strip().endswith("null: version 1.0, 1/1 workers ready")
        assert printed_curl(checkout, started.stdout) == '{"predictions":[]}'
        assert '\n  # {"predictions":[]}\n' in started.stdout
        logs = {path.name for path in (checkout.path / ".run" / "logs").iterdir()}
        assert {"model_log.log", "ts_log.log"} <= logs, logs
    finally:
        stopped = checkout.make("stop")
    assert stopped.returncode == 0 and "has stopped" in stopped.stdout, stopped.stderr
    record(f"environment_{name}", archive_and_serve_s=round(took, 1))


def printed_curl(checkout, output):
    """The output of the command that make serve prints, pasted into a shell with the same proxies."""
    line = next(line for line in output.splitlines() if line.strip().startswith("curl"))
    variables = {key: value for key, value in checkout.case.variables.items() if "proxy" in key.lower()}
    return subprocess.run(
        ["sh", "-c", line], cwd=checkout.path, env={**os.environ, **variables}, capture_output=True, text=True
    ).stdout


def require(*command):
    tried = subprocess.run(command, capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"no namespaces here: {tried.stderr.strip()}")


def test_a_machine_with_ipv6_alone_is_told_so(null_store, tmp_path):
    require("unshare", "--net", "true")
    with place(tmp_path, null_store) as server:
        only_v6 = "ip link set lo up && ip address del 127.0.0.1/8 dev lo && exec \"$0\" -m serving serve"
        failed = subprocess.run(
            ["unshare", "--net", "sh", "-c", only_v6, sys.executable], cwd=ROOT,
            env={**os.environ, **server.environment}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert failed.returncode == 1
    assert failed.stderr.startswith("This machine has no 127.0.0.1") and len(failed.stderr.splitlines()) == 1


def test_another_torchserve_on_the_same_ports_and_on_others(null_store, tmp_path, monkeypatch):
    """On the same ports it is named and left running. On other ports both answer, and tokens survive skewed clocks."""
    with place(tmp_path / "one", null_store) as one, place(tmp_path / "two", null_store) as two:
        one.serve()
        refused = two.verb("serve", CONFIG=one.environment["CONFIG"])
        assert refused.returncode == 1 and f"in use by pid {one.state.pid} (" in refused.stderr
        if FULL:
            two.serve()
            assert all(each.client.predict("null", b"x", "text/plain").ok for each in (one, two))
            assert two.verb("stop").returncode == 0
        assert one.verb("status").returncode == 0
        for name, address in PROXIES.items():
            monkeypatch.setenv(name, address)
        skewed_clocks(one)


def skewed_clocks(server):
    """The client's clock is a day ahead of the server's, then a day behind it: tokens are renewed, calls succeed."""
    key_file, config = server.directory.key_file, Config.load(Path(server.environment["CONFIG"]))
    for shown, worthless in (("2000-01-01T00:00:00Z", False), ("2999-01-01T00:00:00Z", True)):
        keys = json.loads(key_file.read_text())
        old = keys["inference"]["key"]
        keys["inference"]["expiration time"] = shown
        if worthless:  # the server has revoked it, and the file seems to say that it is valid for long
            keys["inference"]["key"] = old = "wrong000"
        key_file.write_text(json.dumps(keys))
        client = Client(config, key_file)
        assert client.predict("null", b"x", "text/plain").ok and client.token() != old
        with direct() as session:
            ping = session.get(f"{config.inference}/ping", headers={"Authorization": f"Bearer {old}"})
        assert ping.status_code == 401
