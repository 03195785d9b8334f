"""A Triton model repository of archives: for each a folder with config.pbtxt, 1/model.py and the unpacked archive.

A folder is written under another name and then renamed. A folder that make triton did not write is never touched.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from deploy.triton.config import config
from openapi.models import of_archive
from serving.errors import ServingError
from serving.identity import read_config
from serving.model_folder import changed
from serving.model_settings import Settings
from serving.owned import MARKER, doubt
from serving.plan import Plan

BACKEND = Path(__file__).with_name("model.py")
ONLY_VERSION = "1"  # Triton's versions are whole numbers; a repository has what make serve would serve


def write(plan: Plan, out: Path, environment: str = "") -> list[Path]:
    """The folders of this project's archives in the plan, written into ``out``. Raises ServingError.

    Nothing is written if one of them cannot be.
    """
    out = out.absolute()
    if out.exists() and not out.is_dir():
        raise ServingError(f"{out} is a file; name a folder: make triton OUT=...")
    try:
        for name in plan.ours:
            _require_ours(out / name)
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as aside:
            for name in plan.ours:
                _fill(Path(aside) / name, out / name, plan, environment)
            for name in plan.ours:
                _put(Path(aside), out / name)
    except OSError as error:
        raise ServingError(
            f"{out} cannot be written ({error.strerror or error}); name another folder: make triton OUT=..."
        ) from None
    return [out / name for name in plan.ours]


def _require_ours(folder: Path) -> None:
    if reason := doubt(folder, re.compile(re.escape(folder.name))):
        raise ServingError(
            f"{folder} was not written by make triton ({reason}); remove it, or name another folder: "
            "make triton OUT=..."
        )


def _fill(folder: Path, place: Path, plan: Plan, environment: str) -> None:
    """Writes the folder that is to be at ``place``."""
    source, chosen = plan.store / f"{place.name}.mar", plan.settings.get(place.name, {})
    archive = folder / ONLY_VERSION / "archive"
    archive.mkdir(parents=True)
    with zipfile.ZipFile(source) as packed:
        packed.extractall(archive)
    entry, settings = read_config(source)
    unpacked = changed(settings, chosen, 1000)
    (archive / entry).write_text(yaml.safe_dump(unpacked, sort_keys=False, allow_unicode=True))
    shutil.copyfile(BACKEND, archive.with_name("model.py"))
    text = config(of_archive(source), _with_delay(unpacked, chosen), environment)
    (folder / "config.pbtxt").write_text(text)
    (folder / MARKER).write_text(f"{place}\n")


def _with_delay(settings: Mapping[str, Any], chosen: Settings) -> dict[str, Any]:
    """The settings with the exact delay of models.toml; model-config.yaml has whole milliseconds."""
    return {**settings, "maxBatchDelay": chosen.get("batch_delay_ms", settings["maxBatchDelay"])}


def _put(aside: Path, place: Path) -> None:
    """Renames the folder into its place. The old folder is removed with ``aside``."""
    if place.exists():
        place.rename(aside / f"{place.name}.before")
    (aside / place.name).rename(place)
