"""What is running: the record that ``make serve`` leaves and every other verb reads.

Knows processes by the temp folder in their environment: a pid used again by someone else is never mistaken for the
server, those are found whose pid nobody got round to writing down, and no clock that is set meanwhile matters. A record
that does not say what make serve writes is no record; what was started here is found without one.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from serving.errors import ServingError
from serving.owned import MARKER, mark
from serving.temp_folder import is_named

ROOT = Path(__file__).resolve().parent.parent
OWN = "TEMP"  # the environment variable that holds the temp folder; TorchServe hands it down to its workers
LOGS = "LOG_LOCATION"  # and the one that holds the run folder's logs
LISTS_AND_MAPS = {"ports": list, "archives": dict, "foreign": list, "settings": dict}


@dataclass
class State:
    """A start: the temp folder that is its own, its config, what it serves ({name: sha256}), which of that this project
    did not build, what models.toml said of it ({name: settings}) and its Java process.

    It is on record before the launch, with no process yet (pid 0), and again when all of it is ``ready``.
    """

    temp: str
    config: str
    ports: list[int] = field(default_factory=list)
    archives: dict[str, str] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)
    settings: dict[str, dict[str, int | float]] = field(default_factory=dict)
    pid: int = 0
    ready: bool = False

    @classmethod
    def of(cls, record: dict[str, Any]) -> State:
        """The state of a record. Raises TypeError or ValueError where ``make serve`` writes no such thing."""
        state = cls(**record)
        if not is_named(state.temp) or type(state.pid) is not int or type(state.ready) is not bool:
            raise ValueError
        if not all(isinstance(getattr(state, key), kind) for key, kind in LISTS_AND_MAPS.items()):
            raise ValueError
        return state

    def running(self) -> bool:
        """Whether the Java process is still there."""
        try:
            return self.pid > 0 and _environment(psutil.Process(self.pid)).get(OWN) == self.temp
        except psutil.NoSuchProcess:
            return False

    def processes(self) -> list[psutil.Process]:
        """All processes of the start: launcher, Java and workers, also those that outlive Java."""
        return _processes(lambda environment: environment.get(OWN) == self.temp)


def _processes(chosen: Callable[[Mapping[str, str]], bool]) -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if chosen(_environment(process))]


def _environment(process: psutil.Process) -> dict[str, str]:
    """What a living process was started with; nothing of one that has ended, or is another user's."""
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
        """What is running, as far as a start has come."""
        return self.path / "server.json"

    @property
    def lock(self) -> Path:
        """Held by whoever starts or stops the server."""
        return self.path / "start.lock"

    @property
    def key_file(self) -> Path:
        """TorchServe writes it, mode 0600, into the folder that it is started in."""
        return self.path / "key_file.json"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def models(self) -> Path:
        """Copies of archives whose settings models.toml changes."""
        return self.path / "models"

    @property
    def model_log(self) -> Path:
        """What the workers print."""
        return self.logs / "model_log.log"

    @property
    def console(self) -> Path:
        """What the Java process itself prints."""
        return self.logs / "console.log"

    def is_ours(self) -> bool:
        """Whether nothing but a server's files lies there: RUN_DIR may name any folder."""
        return self.path == ROOT / ".run" or (self.path / MARKER).exists()

    def create(self) -> None:
        """Makes the folder and its log folder, readable by the owner alone.

        Raises ServingError for a folder that holds something else: files in it are replaced and deleted.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.is_ours() and {path.name for path in self.path.iterdir()} - {"lost+found"}:
            raise ServingError(f"RUN_DIR={self.path} holds other files; name a folder that is new or empty.")
        self.path.chmod(0o700)
        mark(self.path)
        self.logs.mkdir(exist_ok=True)

    def read(self) -> State | None:
        """The state of the last start, or None: also where what is on record cannot be one."""
        try:
            return State.of(json.loads(self.record.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, state: State) -> None:
        """Records a start, whole or not at all."""
        partial = self.path / "server.json.part"
        partial.write_text(json.dumps(asdict(state), indent=2))
        partial.replace(self.record)

    def processes(self) -> list[psutil.Process]:
        """All processes that a start in this folder has left, on record or not."""
        state, logs = self.read(), str(self.logs)

        def started_here(environment: Mapping[str, str]) -> bool:
            temp = environment.get(OWN, "")
            return is_named(temp) and (environment.get(LOGS) == logs or (state is not None and temp == state.temp))

        return _processes(started_here)

    def temps(self) -> set[str]:
        """The temporary folders of what was started here."""
        state = self.read()
        found = {_environment(process).get(OWN, "") for process in self.processes()}
        return (found | {state.temp} if state else found) - {""}

    def clear(self) -> None:
        """Forgets the server, its keys and its copies of archives."""
        for name in ("server.json", "server.json.part", "key_file.json", "renew.lock"):
            (self.path / name).unlink(missing_ok=True)
        shutil.rmtree(self.models, ignore_errors=True)
