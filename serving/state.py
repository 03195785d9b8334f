"""What is running: the record that ``make serve`` leaves and every other verb reads.

Knows processes by the temp folder in their environment: a pid used again by someone else is never mistaken for the
server, those are found whose pid nobody got round to writing down, and no clock that is set meanwhile matters.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
OWN = "TEMP"  # the environment variable that holds the temp folder; TorchServe hands it down to its workers


@dataclass
class State:
    """A start: the temp folder that is its own, its config, what it serves ({name: sha256}), which of that this project
    did not build, what models.toml said of it ({name: settings}) and its Java process.

    It is on record before the launch, with no process yet (pid 0).
    """

    temp: str
    config: str
    ports: list[int] = field(default_factory=list)
    archives: dict[str, str] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)
    settings: dict[str, dict[str, int | float]] = field(default_factory=dict)
    pid: int = 0

    def running(self) -> bool:
        """Whether the Java process is still there."""
        try:
            return self.pid > 0 and self._owns(psutil.Process(self.pid))
        except psutil.NoSuchProcess:
            return False

    def processes(self) -> list[psutil.Process]:
        """All processes of the start: launcher, Java and workers, also those that outlive Java."""
        return [process for process in psutil.process_iter() if self._owns(process)]

    def _owns(self, process: psutil.Process) -> bool:
        try:
            return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(OWN) == self.temp
        except (OSError, psutil.Error):  # it ended meanwhile, or is another user's
            return False


@dataclass(frozen=True)
class RunDirectory:
    """The private folder (mode 0700) of one server: state, key file, logs. One checkout has one, ``.run``."""

    path: Path

    @classmethod
    def default(cls) -> RunDirectory:
        """$RUN_DIR, else the checkout's .run."""
        return cls(Path(os.environ.get("RUN_DIR") or ROOT / ".run"))

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

    def create(self) -> None:
        """Makes the folder and its log folder, readable by the owner alone."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)
        self.logs.mkdir(exist_ok=True)

    def read(self) -> State | None:
        """The state of the last start, or None."""
        try:
            return State(**json.loads((self.path / "server.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, state: State) -> None:
        """Records a start, whole or not at all."""
        partial = self.path / "server.json.part"
        partial.write_text(json.dumps(asdict(state), indent=2))
        partial.replace(self.path / "server.json")

    def clear(self) -> None:
        """Forgets the server, its keys and its copies of archives."""
        for name in ("server.json", "server.json.part", "key_file.json", "renew.lock"):
            (self.path / name).unlink(missing_ok=True)
        shutil.rmtree(self.models, ignore_errors=True)
