"""What the store's archives need: workers, threads, devices, bytes, including the settings of models.toml."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.auto_workers import automatic
from serving.chosen import Choices
from serving.doctor.finding import Place
from serving.environment import usable_cores
from serving.errors import ServingError
from serving.identity import identity, read_config
from serving.model_folder import changed
from serving.model_settings import ModelSettings


@dataclass(frozen=True)
class Need:
    """One archive: its bytes, its workers and the threads of each, its device and the engine that its workers load.

    ``pixels``: those of the largest image that it accepts. ``copied``: it is served with other settings than it was
    built with, so ``make serve`` writes a copy of it into the run folder.
    """

    name: str
    bytes: int
    workers: int
    threads: int
    device: str
    runtime: str
    pixels: int
    copied: bool


def needs(place: Place) -> list[Need]:
    """The needs of every readable archive that ``make serve`` would serve. Other checks report an unreadable
    models.toml or archive, and a missing PyYAML, which is absent before ``make setup``."""
    try:
        settings = ModelSettings.load(place.models)
    except (ServingError, ImportError):
        settings = ModelSettings(place.models)
    paths = served(place)
    workers = automatic({path.stem: _config(path) for path in paths}, usable_cores(), place.replicas)
    return [need for path in paths if (need := _need(path, settings, workers.get(path.stem)))]


def _config(path: Path) -> dict[str, Any]:
    try:
        return read_config(path)[1]
    except (ServingError, ImportError):
        return {}


def served(place: Place) -> list[Path]:
    """The store's archives without those that models.toml leaves out; all of them where it cannot be read."""
    paths = sorted(place.store.glob("*.mar"))
    try:
        left = Choices.load(place.models).served(place.store, [identity(path) for path in paths])
    except (ServingError, ImportError):
        return paths
    return [path for path in paths if path.stem in {each.name for each in left}]


def _need(path: Path, table: ModelSettings, workers: int | None) -> Need | None:
    try:
        archive, (_, config) = identity(path), read_config(path)
        settings = {**({"workers": workers} if workers else {}), **table.of(archive)}
        served = changed(config, settings, delay_unit_us=1)
        section = served.get("archive") or {}
        return Need(
            path.stem, path.stat().st_size,
            # TorchServe starts a worker per core for an archive that does not set a number.
            int(served.get("minWorkers") or usable_cores()), int(section.get("threads") or usable_cores()),
            str(served.get("deviceType") or "cpu"), str(section.get("runtime", "")),
            int((section.get("image") or {}).get("max_pixels", 0)), bool(settings),
        )  # fmt: skip
    except (OSError, ValueError, TypeError, AttributeError, zipfile.BadZipFile, ServingError, ImportError):
        return None
