"""Changes the workers, their threads or the batches of an archive while it answers, and keeps that in models.toml."""

from __future__ import annotations

from typing import Any

from rollout.fleet import Fleet
from rollout.renewal import Renewal
from rollout.running import DELAY_UNIT_US, Running, Say
from serving.errors import ServingError
from serving.identity import Identity, identity
from serving.model_settings import Settings
from serving.models_file import child, edited, models_file
from serving.plan import described
from serving.store import STORE


def scale(fleet: Fleet, settings: Settings, say: Say) -> int:
    """Applies the settings of models.toml's keys ``workers``, ``threads``, ``batch_size`` and ``batch_delay_ms`` to
    every server. Raises ServingError. If new workers do not load, all stays as before."""
    name, version = fleet.name, fleet.first.version()
    renewals = _renewals(fleet, version, settings, say)
    before = fleet.first.client.registration(name)
    threads = renewals[0].threads if renewals else None
    print(f"{name}: from {_shown(before, threads)} to {described(settings)}", flush=True)
    try:
        _apply(fleet, version, settings, renewals, say)
        keep(identity(STORE / f"{name}.mar"), settings)
    except (ServingError, OSError, KeyboardInterrupt) as error:
        _undo(fleet, version, before, renewals)
        if not isinstance(error, ServingError):
            raise
        cause = str(error).rstrip(".")
        raise ServingError(f"{cause}. {name} has {_shown(before, threads)} as before.") from None
    fleet.record(settings)
    now = _shown(fleet.first.client.registration(name), settings.get("threads"))
    print(f"{name} has {now} now, and after make stop serve too ({models_file().name}).")
    return 0


def _renewals(fleet: Fleet, version: str, settings: Settings, say: Say) -> list[Renewal]:
    """What replaces each server's workers, where their threads change. Raises ServingError where they cannot."""
    if "threads" not in settings:
        return []
    if fleet.name in fleet.first.state.foreign:
        raise ServingError(
            f"THREADS={settings['threads']}: {fleet.name}.mar was not built by this project, and its handler sets its "
            "own threads; leave THREADS out."
        )
    fleet.each(Running.require_one_by_one)
    fleet.first.require_memory_for_one()  # the servers have their turns
    return [Renewal(server, version, settings, say) for server in fleet.servers]


def _apply(fleet: Fleet, version: str, settings: Settings, renewals: list[Renewal], say: Say) -> None:
    for renewal in renewals:
        renewal.write()
    if numbers := _numbers(settings):
        fleet.each(lambda server: server.client.change(fleet.name, version, **numbers))
        fleet.each(lambda server: server.await_ready(version, say))
    for renewal in renewals:
        renewal.run()


def _undo(fleet: Fleet, version: str, before: dict[str, Any], renewals: list[Renewal]) -> None:
    """Leaves what was before. Raises ServingError where workers with the threads from before do not load either."""
    old = {"batch_size": before["batchSize"], "batch_delay": before["maxBatchDelay"]}
    if not renewals:
        old["workers"] = before["minWorkers"]
    fleet.undo(lambda server: server.client.change(fleet.name, version, **old))
    failed = None
    for renewal in renewals:
        try:
            renewal.undo()
        except ServingError as error:
            failed = error
    if failed:
        raise ServingError(f"{fleet.name} could not be left as before: {failed}; run: make stop serve")


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
    numbers = {key: int(value) for key, value in settings.items() if key in ("workers", "batch_size")}
    if "batch_delay_ms" in settings:
        numbers["batch_delay"] = max(1, round(settings["batch_delay_ms"] * 1000 / DELAY_UNIT_US))
    return numbers


def _shown(registered: dict[str, Any], threads: float | None) -> str:
    own = "" if threads is None else f", threads {threads}"
    return f"workers {registered['minWorkers']}{own}, batch size {registered['batchSize']}"
