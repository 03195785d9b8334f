"""The records of a finding and of the place that checks examine. Knows no check."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from serving.config import ROOT

OK, WARN, STOP = "ok", "warn", "STOP"


@dataclass(frozen=True)
class Finding:
    """``level`` STOP: ``make serve`` cannot work. WARN: it works, with the consequence that ``text`` names."""

    level: str
    text: str
    cure: str = ""


@dataclass(frozen=True)
class Place:
    """The machine as the checks see it. Tests replace any part of it by their own folders."""

    store: Path
    run: Path
    config: Path = ROOT / "config.properties"
    models: Path = ROOT / "models.toml"
    root: Path = ROOT
    temp: Path = field(default_factory=lambda: Path(tempfile.gettempdir()))
    proc: Path = Path("/proc")
    cgroup: Path = Path("/sys/fs/cgroup")
    devices: Path = Path("/sys/bus/pci/devices")
    cuda_driver: str = "libcuda.so.1"
    replicas: int = 1  # servers of this machine: make doctor REPLICAS=3
    set_up: bool = True  # False before ``make setup``: a missing package is then no error

    @classmethod
    def default(cls, set_up: bool) -> Place:
        """The place that ``make serve`` would use, from the variables that it reads."""
        given = os.environ.get
        return cls(
            store=Path(given("MODEL_STORE") or ROOT / "model_store").resolve(),
            run=Path(given("RUN_DIR") or ROOT / ".run"),
            config=Path(given("CONFIG") or ROOT / "config.properties"),
            models=Path(given("MODELS_FILE") or ROOT / "models.toml"),
            replicas=int(count) if (count := given("REPLICAS", "")).isdecimal() else 1,
            set_up=set_up,
        )

    def absent(self, text: str) -> Finding:
        """The finding for a missing package: a fault after ``make setup``, and expected before."""
        if self.set_up:
            return Finding(STOP, text, "run: make setup; with PYTHON=..., its own pip install -c constraints.txt .")
        return Finding(OK, f"{text}: the first verb that needs it sets it up")


Check = Callable[[Place], Finding]


def size(count: float) -> str:
    """A number of bytes with a unit: 9 KB, 512 MB, 1.5 GB."""
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}" if unit == 1e9 else f"{count / unit:.0f} {name}"
    return f"{count / 1e3:.0f} KB"
