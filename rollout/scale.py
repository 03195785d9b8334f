"""Changes the workers or the batches of an archive while it answers, and keeps the change in models.toml."""

from __future__ import annotations

from rollout.fleet import Fleet
from rollout.running import DELAY_UNIT_US, Say
from serving.errors import ServingError
from serving.identity import Identity, identity
from serving.model_settings import Settings
from serving.models_file import child, edited, models_file
from serving.plan import described
from serving.store import STORE


def scale(fleet: Fleet, settings: Settings, say: Say) -> int:
    """Applies the settings of models.toml's keys ``workers``, ``batch_size`` and ``batch_delay_ms`` to every server.
    Raises ServingError. If new workers do not load, the number stays as before."""
    name, version = fleet.name, fleet.first.version()
    before = fleet.first.client.registration(name)
    print(f"{name}: from {_shown(before)} to {described(settings)}", flush=True)
    try:
        fleet.each(lambda server: server.client.change(name, version, **_numbers(settings)))
        fleet.each(lambda server: server.await_ready(version, say))
    except ServingError as error:
        old = {
            "workers": before["minWorkers"],
            "batch_size": before["batchSize"],
            "batch_delay": before["maxBatchDelay"],
        }
        fleet.undo(lambda server: server.client.change(name, version, **old))
        raise ServingError(f"{error}. {name} has {_shown(before)} as before.") from None
    keep(identity(STORE / f"{name}.mar"), settings)
    fleet.record(settings)
    now = fleet.first.client.registration(name)
    print(f"{name} has {_shown(now)} now, and after make stop serve too ({models_file().name}).")
    return 0


def keep(archive: Identity, settings: Settings) -> None:
    """Writes the settings into the archive's table of models.toml: its variant's, where it has one. Raises
    ServingError."""
    with edited(models_file()) as document:
        table = child(document, archive.model)
        if archive.variant:
            table = child(child(table, "variants"), archive.variant)
        for key, value in settings.items():
            table[key] = value


def _numbers(settings: Settings) -> dict[str, int]:
    numbers = {key: int(value) for key, value in settings.items() if key != "batch_delay_ms"}
    if "batch_delay_ms" in settings:
        numbers["batch_delay"] = max(1, round(settings["batch_delay_ms"] * 1000 / DELAY_UNIT_US))
    return numbers


def _shown(registered: dict[str, object]) -> str:
    return f"workers {registered['minWorkers']}, batch size {registered['batchSize']}"
