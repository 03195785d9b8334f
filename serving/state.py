"""The record of the running server, which ``make serve`` writes and every other verb reads.

Recognises processes by the temp folder in their environment. So a pid that another program uses now is never taken for
the server. Processes whose pid is not on record are found, and a changed clock does not matter. A record in another
form than make serve's is ignored; the processes of a start are found without it.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from serving.errors import ServingError
from serving.owned import MARKER, mark
from serving.temp_folder import is_named

ROOT = Path(__file__).resolve().parent.parent
OWN = "TEMP"  # the environment variable with the temp folder; TorchServe's workers inherit it
LOGS = "LOG_LOCATION"  # the environment variable with the folder of the logs
TITLES = {"torchserve": "TorchServe", "ray": "Ray Serve"}
GROUP = "replicas.json"  # the record of replicas behind a balancer (replicas/group.py)
TOKENS = ("token", "tokens")  # the tokens that all replicas accept (replicas/tokens.py)
LISTS_AND_MAPS = {"ports": list, "archives": dict, "foreign": list, "settings": dict, "front_end": list}


@dataclass
class State:
    """A start: its temp folder, its config, its archives ({name: sha256}) and its Java process. ``foreign`` are the
    archives that this project did not build. ``settings`` are those that differ from the archives' own ({name:
    settings}). ``front_end`` are the abilities of its front end (front_end.OFFERS).

    It is recorded before the launch, without a process (pid 0), and again when everything is ``ready``.
    """

    temp: str
    config: str
    ports: list[int] = field(default_factory=list)
    archives: dict[str, str] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)
    settings: dict[str, dict[str, int | float]] = field(default_factory=dict)
    pid: int = 0
    ready: bool = False
    engine: str = "torchserve"
    front_end: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The name of the server for a sentence."""
        return TITLES.get(self.engine, self.engine)

    @classmethod
    def of(cls, record: dict[str, Any]) -> State:
        """The state of a record. Raises TypeError or ValueError for a record that ``make serve`` would not write."""
        state = cls(**record)
        if not is_named(state.temp) or type(state.pid) is not int or type(state.ready) is not bool:
            raise ValueError
        if not all(isinstance(getattr(state, key), kind) for key, kind in LISTS_AND_MAPS.items()):
            raise ValueError
        return state

    def running(self) -> bool:
        """Whether the Java process still runs."""
        try:
            return self.pid > 0 and _environment(psutil.Process(self.pid)).get(OWN) == self.temp
        except psutil.NoSuchProcess:
            return False

    def appears(self, timeout_s: float) -> bool:
        """Whether the process runs, for a process that was launched just now. For some milliseconds (34 on busy cores)
        the kernel shows an empty environment for a new program, so ``running`` mistakes it for another program."""
        deadline = time.monotonic() + timeout_s
        while not self.running():
            if self.pid <= 0 or not _lives(self.pid) or time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def processes(self) -> list[psutil.Process]:
        """All processes of the start: launcher, Java and workers, also those that outlive Java."""
        return _processes(lambda environment: environment.get(OWN) == self.temp)


def await_ended(processes: Sequence[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Waits until these have ended, and returns those that have not. A zombie has ended: its parent, which may be the
    process 1 of a container, reads its status late or never."""
    deadline = time.monotonic() + timeout_s
    while (left := [each for each in processes if _lives(each.pid)]) and time.monotonic() < deadline:
        time.sleep(0.01)
    psutil.wait_procs(processes, timeout=0)  # reads the status of our own children
    return left


def _processes(chosen: Callable[[Mapping[str, str]], bool]) -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if chosen(_environment(process))]


def _in_rays_session(leader: int) -> list[psutil.Process]:
    """Ray's processes in the session of process ``leader``. Ray's agents write their name over their environment."""
    return [each for each in psutil.process_iter() if _session(each) == leader and _name(each).startswith("ray::")]


def _lives(pid: int) -> bool:
    """Also true for a zombie as long as other threads of the process run, since they keep its ports open."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1
    except psutil.NoSuchProcess:
        return False


def _session(process: psutil.Process) -> int:
    try:
        return os.getsid(process.pid)
    except OSError:  # it has ended
        return -1


def _name(process: psutil.Process) -> str:
    try:
        return "" if process.status() == psutil.STATUS_ZOMBIE else process.name()
    except psutil.Error:
        return ""


def _environment(process: psutil.Process) -> dict[str, str]:
    """The environment of a living process; empty for one that has ended, or of another user."""
    try:
        return {} if process.status() == psutil.STATUS_ZOMBIE else process.environ()
    except (OSError, psutil.Error):
        return {}


@dataclass(frozen=True)
class RunDirectory:
    """The private folder (mode 0700) of one server: state, key file, logs. One checkout has one, ``.run``."""

    path: Path

    @classmethod
    def default(cls) -> RunDirectory:
        """$RUN_DIR, else the checkout's .run."""
        return cls(Path(os.environ.get("RUN_DIR") or ROOT / ".run").resolve())

    @property
    def record(self) -> Path:
        """The file with the record of the server."""
        return self.path / "server.json"

    @property
    def lock(self) -> Path:
        """The lock that a process holds while it starts or stops the server."""
        return self.path / "start.lock"

    @property
    def key_file(self) -> Path:
        """The key file. TorchServe writes it with mode 0600 into its working directory."""
        return self.path / "key_file.json"

    @property
    def logs(self) -> Path:
        """The folder with TorchServe's logs."""
        return self.path / "logs"

    @property
    def models(self) -> Path:
        """The folder that archives are served from: links to the store, and copies with other settings."""
        return self.path / "models"

    @property
    def model_log(self) -> Path:
        """The log with the workers' output."""
        return self.logs / "model_log.log"

    @property
    def console(self) -> Path:
        """The log with the Java process's own output."""
        return self.logs / "console.log"

    def is_ours(self) -> bool:
        """Whether the folder holds only a server's files. RUN_DIR may name any folder."""
        return self.path == ROOT / ".run" or (self.path / MARKER).exists()

    def create(self) -> None:
        """Makes the folder and its log folder, readable by the owner alone.

        Raises ServingError for a folder that holds something else: files in it are replaced and deleted.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        before = {path.name for path in self.path.iterdir()} - {"lost+found"}
        if before and not self.is_ours():  # in this order: another start may make the folder at the same moment
            raise ServingError(f"RUN_DIR={self.path} holds other files; name a folder that is new or empty.")
        self.path.chmod(0o700)
        mark(self.path)
        self.logs.mkdir(exist_ok=True)

    def read(self) -> State | None:
        """The state of the last start. None without a record, and for a damaged one."""
        try:
            return State.of(json.loads(self.record.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, state: State) -> None:
        """Writes the record of a start, atomically."""
        partial = self.path / "server.json.part"
        partial.write_text(json.dumps(asdict(state), indent=2))
        partial.replace(self.record)

    def processes(self) -> list[psutil.Process]:
        """All processes of starts in this folder, on record or not."""
        state, logs = self.read(), str(self.logs)

        def started_here(environment: Mapping[str, str]) -> bool:
            temp = environment.get(OWN, "")
            return is_named(temp) and (environment.get(LOGS) == logs or (state is not None and temp == state.temp))

        return [*_processes(started_here), *self.renamed()]

    def renamed(self) -> list[psutil.Process]:
        """Ray's agents and replicas on record, which write their name over their environment."""
        state = self.read()
        return _in_rays_session(state.pid) if state and state.engine == "ray" else []

    def temps(self) -> set[str]:
        """The temporary folders of starts in this folder."""
        state = self.read()
        found = {_environment(process).get(OWN, "") for process in self.processes()}
        return (found | {state.temp} if state else found) - {""}

    def clear(self) -> None:
        """Removes the record of the server, its keys and its copies of archives."""
        for name in ("server.json", "server.json.part", "key_file.json", "renew.lock", "ray.json", GROUP, *TOKENS):
            (self.path / name).unlink(missing_ok=True)
        shutil.rmtree(self.models, ignore_errors=True)
