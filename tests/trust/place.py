"""A separate place for a server that a test may break: store, ports and run folder. The server is stopped at the end.

Knows the verbs and the files they write. The tests inject the faults.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import yaml

from serving.client import Client
from serving.config import Config
from serving.state import RunDirectory, State
from serving.store import publish
from tests.conftest import ROOT, run, write_config


class Place:
    """The variables that lead the verbs to ``folder``, and the files that a test reads there."""

    def __init__(self, folder: Path, store: Path, names: Sequence[str], **properties: str) -> None:
        self.store = folder / "store"
        self.store.mkdir(parents=True)
        for name in names:
            for file in (f"{name}.mar", f"{name}.mar.sha256"):
                shutil.copy(store / file, self.store)
        config = write_config(folder / "config.properties", **properties)
        self.directory = RunDirectory(folder / "run")
        self.config = Config.load(config)
        self.environment = {
            "CONFIG": str(config), "RUN_DIR": str(folder / "run"), "MODEL_STORE": str(self.store),
            "MODELS": "", "VARIANTS": "", "DEVICE": "cpu",
        }  # fmt: skip

    def verb(self, name: str, **environment: str) -> Any:
        """``make <name>`` as a finished process."""
        return run("serving" if name != "archive" else "export", *([name] if name != "archive" else []),
                   **{**self.environment, **environment})  # fmt: skip

    def serve(self, **environment: str) -> None:
        """``make serve``, which must succeed."""
        started = self.verb("serve", **environment)
        assert started.returncode == 0, started.stdout + started.stderr

    @property
    def client(self) -> Client:
        """A new client of the server. It does not retry refusals."""
        return Client(self.config, self.directory.key_file, timeout_s=60, retries=0)

    @property
    def impatient_client(self) -> Client:
        """A client with a short timeout."""
        return Client(self.config, self.directory.key_file, timeout_s=5, retries=0)

    @property
    def state(self) -> State:
        """The record of the last start."""
        state = self.directory.read()
        assert state is not None
        return state

    def processes(self) -> list[psutil.Process]:
        """All processes that were started for this place, found by a variable that every child inherits and no code
        relies on."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                ours = process.environ().get("RUN_DIR") == self.environment["RUN_DIR"]
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def begin(self, name: str, **environment: str) -> subprocess.Popen[str]:
        """``make <name>`` as a process that has just started."""
        return subprocess.Popen(
            [sys.executable, "-m", "serving", name], cwd=ROOT, env={**os.environ, **self.environment, **environment},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def worker(self, name: str) -> int:
        """The pid of the archive's worker, READY or not."""
        return int(self.client.workers(name)[0]["pid"])


@contextmanager
def place(folder: Path, store: Path, names: Sequence[str] = ("null",), **properties: str) -> Iterator[Place]:
    """A place with copies of these archives; at its end nothing of its server is left."""
    made = Place(folder, store, names, **properties)
    try:
        yield made
    finally:
        stopped = made.verb("stop")
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr


def rewrite(archive: Path, change: Callable[[str, bytes], bytes]) -> None:
    """Publishes the archive with each entry's bytes replaced by ``change(entry's name, bytes)``."""
    new = archive.with_name("new")
    with zipfile.ZipFile(archive) as good, zipfile.ZipFile(new, "w") as changed:
        for name in good.namelist():
            changed.writestr(name, change(name, good.read(name)))
    publish(new, archive)


def reconfigure(archive: Path, **settings: Any) -> None:
    """Publishes the archive with other settings at the top level of its model-config.yaml."""

    def change(name: str, data: bytes) -> bytes:
        return yaml.safe_dump({**yaml.safe_load(data), **settings}).encode() if name == "model-config.yaml" else data

    rewrite(archive, change)


def eventually(condition: Callable[[], Any], within_s: float = 30.0, every_s: float = 0.05) -> float:
    """Waits for ``condition`` and returns the seconds until then; fails if it does not hold in time."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within_s, f"not within {within_s} s: {condition}"
        time.sleep(every_s)
    return time.monotonic() - began


@contextmanager
def halted(process: psutil.Process) -> Iterator[None]:
    """Keeps ``process`` stopped. Its threads go on for a moment after the signal, so they are waited for."""
    process.suspend()
    try:
        eventually(lambda: _stopped(process.pid))
        yield
    finally:
        process.resume()


def _stopped(pid: int) -> bool:
    states = [file.read_text().rpartition(")")[2].split()[0] for file in Path(f"/proc/{pid}/task").glob("*/stat")]
    return set(states) == {"T"}
