"""The folder that TorchServe reads archives from: the chosen ones of the store, with the settings of models.toml.

TorchServe 0.12 reads the settings of a model only from the model-config.yaml inside its archive. An archive with other
settings is therefore copied, with that one entry changed. The other archives are linked. The store itself never
changes.
"""

from __future__ import annotations

import copy
import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serving.identity import MANIFEST, read_config
from serving.model_settings import Settings

# key of models.toml -> the keys of model-config.yaml that it sets
TORCHSERVE_KEYS = {
    "workers": ("minWorkers", "maxWorkers"),
    "batch_size": ("batchSize",),
    "response_timeout_s": ("responseTimeout",),
    "startup_timeout_s": ("startupTimeout",),
    "queue": ("jobQueueSize",),
}


def prepare(
    folder: Path, store: Path, names: Mapping[str, str], settings: Mapping[str, Settings], delay_unit_us: int
) -> Path:
    """The folder to serve ``names`` from, newly made. A rollout adds further versions to it.

    ``delay_unit_us`` is the unit of maxBatchDelay in microseconds: 1 or 1000 (serving/front_end/).
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    for name in names:
        add(store / f"{name}.mar", folder / f"{name}.mar", settings.get(name, {}), delay_unit_us)
    return folder.resolve()


def add(source: Path, target: Path, settings: Settings, delay_unit_us: int) -> None:
    """Puts an archive into the folder: a link, or a copy with these settings if there are any. ``source`` may be
    ``target``, whose settings are then changed."""
    aside = target.with_name(f".{target.name}.part")  # TorchServe takes no such name for an archive
    aside.unlink(missing_ok=True)
    if settings:
        entry, config = read_config(source)
        _copy(source, aside, entry, changed(config, settings, delay_unit_us))
    else:
        aside.symlink_to(source)
    aside.replace(target)


def changed(config: dict[str, Any], settings: Settings, delay_unit_us: int) -> dict[str, Any]:
    """The settings of model-config.yaml, updated with those of models.toml."""
    result = dict(config)
    for key, targets in TORCHSERVE_KEYS.items():
        if key in settings:
            result |= dict.fromkeys(targets, settings[key])
    if "batch_delay_ms" in settings:  # TorchServe reads 0 as unset
        result["maxBatchDelay"] = max(1, round(settings["batch_delay_ms"] * 1000 / delay_unit_us))
    if "threads" in settings:  # this project's handlers read it
        result["archive"] = {**config["archive"], "threads": settings["threads"]}
    return result


def _copy(source: Path, target: Path, config_entry: str, config: dict[str, Any]) -> None:
    """Copies an archive with another config. The manifest must name the config for TorchServe to read it."""
    import yaml

    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            if entry.filename == MANIFEST:
                manifest = json.loads(old.read(entry))
                manifest["model"]["configFile"] = config_entry
                new.writestr(copy.copy(entry), json.dumps(manifest, indent=2))
            elif entry.filename != config_entry:
                with old.open(entry) as reader, new.open(copy.copy(entry), "w") as writer:
                    shutil.copyfileobj(reader, writer, 1 << 20)
        new.writestr(config_entry, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
