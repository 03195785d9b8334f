"""The record of a run: ``run.json``, with the environment, the profile and one entry per trial.

Knows the file's form. A report is computed from rows and this record alone.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from loadtest.errors import LoadTestError
from loadtest.load import rows

FORMAT = 1


@dataclass(frozen=True)
class Trial:
    """One load on one archive. Instants are microseconds since 1970.

    The windows begin at ``begin_us``, one directly after the other, each ``window_us`` long. The first
    ``warm_up_windows`` are not counted. ``purpose`` is "measure", "floor" (the null archive beside ``beside``), "peak",
    "shape" or "soak". ``load`` is the number of users of a closed loop, or the requests per second of an open one.
    """

    id: str
    archive: str
    beside: str
    purpose: str
    mode: str  # "closed" or "open"
    arrivals: str  # "" in a closed loop
    load: float
    round: int
    begin_us: int
    window_us: int
    warm_up_windows: int
    windows: int
    warm: bool  # whether the warm-up ended because two windows agreed
    client_cpu: float  # of one core, by its busiest process, while measuring; of all where processes share cores
    rss: tuple[tuple[int, int], ...] = ()  # (instant, bytes of all processes of the server)
    processes: int = 1  # that sent the load

    @property
    def point(self) -> str:
        """The name of the load point, the same in every round. File names and the report's keys contain it."""
        kind = f"closed-{self.load:g}" if self.mode == "closed" else f"{self.arrivals}-{self.load:g}"
        return kind if self.purpose in ("measure", "floor") else f"{self.purpose}-{kind}"


@dataclass(frozen=True)
class Archive:
    """A measured archive: its own description, and the SHA-256 of its bytes."""

    name: str
    model: str
    variant: str
    device: str
    sha256: str | None = None
    parity: dict[str, Any] | None = None
    random_weights: bool | None = None
    settings: dict[str, Any] | None = None  # that the server used in place of the archive's own


@dataclass(frozen=True)
class Peak:
    """The highest rate that met the objective. ``limited_by`` is "server" or "client"."""

    archive: str
    slo_p99_ms: float
    requests_per_s: float
    limited_by: str
    probes: tuple[tuple[float, bool], ...]


@dataclass(frozen=True)
class Run:
    """A whole run. ``folder`` has run.json and rows/."""

    folder: Path
    environment: dict[str, Any]
    profile: dict[str, Any]
    archives: dict[str, Archive] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)
    peaks: list[Peak] = field(default_factory=list)
    baseline: str = ""  # an archive of this run, or "baseline.json", the copy of a summary that was given

    def rows_of(self, trial: Trial) -> list[rows.RequestRow]:
        """The trial's rows. Raises LoadTestError if their file is missing or of another version."""
        try:
            return rows.read(rows_file(self.folder, trial.id))
        except (OSError, ValueError) as error:
            raise LoadTestError(f"The rows of {trial.id} cannot be read: {error}; measure again.") from None

    def write(self) -> None:
        """Writes run.json."""
        content = {
            "format": FORMAT,
            "environment": self.environment,
            "profile": self.profile,
            "archives": [asdict(archive) for archive in self.archives.values()],
            "trials": [asdict(trial) for trial in self.trials],
            "peaks": [asdict(peak) for peak in self.peaks],
            "baseline": self.baseline,
        }
        (self.folder / "run.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def rows_file(folder: Path, trial_id: str) -> Path:
    """The file of a trial's rows."""
    return folder / "rows" / f"{trial_id}.csv.gz"


def load(folder: Path) -> Run:
    """The run in ``folder``. Raises LoadTestError if there is none, or if it has another format."""
    try:
        content = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LoadTestError(f"{folder} holds no run ({error}); name a folder of loadtest/results.") from None
    if content.get("format") != FORMAT:
        raise LoadTestError(f"{folder}/run.json has format {content.get('format')}, not {FORMAT}; measure again.")
    return Run(
        folder,
        content["environment"],
        content["profile"],
        {each["name"]: Archive(**each) for each in content["archives"]},
        [Trial(**{**each, "rss": tuple(map(tuple, each["rss"]))}) for each in content["trials"]],
        [Peak(**{**each, "probes": tuple(map(tuple, each["probes"]))}) for each in content["peaks"]],
        content["baseline"],
    )
