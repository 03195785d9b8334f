"""Writes a decision of ``make choose`` into models.toml, where make archive and make serve find it.

Knows decision.json and the keys of the file. serving/chosen.py and serving/model_settings.py read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from choose.ranking import close
from serving.chosen import Choice, Choices
from serving.identity import Identity
from serving.machine import in_words
from serving.model_settings import ModelSettings
from serving.models_file import child, edited, models_file
from serving.plan import described

SETTINGS = ("workers", "threads", "batch_size", "queue")  # the settings that a decision is about


def record(decision: Mapping[str, Any]) -> None:
    """Writes the winner of decision.json, or removes an earlier choice where the default stays; prints a line about it.

    Raises ServingError where models.toml cannot be read, OSError where it cannot be written.
    """
    path, model = models_file(), decision["model"]
    earlier = Choices.load(path).models.get(model)
    if decision["default_stays"]:
        print(f"{path}: {_keep_default(path, model, earlier)}")
        return
    winner = decision["winner"]
    with edited(path) as document:
        if earlier and earlier.by and earlier.variants != (winner["variant"],):
            _remove(document[model], earlier.variants)
        _write(child(document, model), winner, decision)
    print(f"{path}: {model} is {winner['variant']}, {_applied(path, model, winner)}{_instead(earlier, decision)}")


def _instead(earlier: Choice | None, decision: Mapping[str, Any]) -> str:
    """The variant that an earlier run of make choose had chosen, and whether the difference is within the interval."""
    winner = decision["winner"]
    if not earlier or not earlier.by or earlier.variants == (winner["variant"],):
        return ""
    near = any((each["variant"],) == earlier.variants for each in close(winner, decision["finalists"]))
    return f"; it replaces {earlier} of {earlier.date}{', the difference is within the interval' if near else ''}"


def _write(table: Any, winner: Mapping[str, Any], decision: Mapping[str, Any]) -> None:
    table["variant"] = winner["variant"]
    settings = child(child(table, "variants"), winner["variant"])
    for key in SETTINGS:
        if key in winner["settings"]:
            settings[key] = winner["settings"][key]
    chosen = child(table, "chosen")
    chosen["by"], chosen["date"] = decision["command"], decision["date"][:10]
    chosen["machine"], chosen["reason"] = in_words(decision["machine"]), reason(decision)


def _keep_default(path: Path, model: str, earlier: Choice | None) -> str:
    """Removes the keys that make choose wrote before; returns what was done."""
    if not earlier:
        return f"the default of {model} stays; nothing was written."
    if not earlier.by:
        return f"the default of {model} is as good; variant = {earlier}, which was written by hand, stays."
    with edited(path) as document:
        _remove(document[model], earlier.variants)
    return f"the default of {model} stays; the earlier choice, {earlier} by {earlier.by} ({earlier.date}), is removed."


def _remove(table: Any, variants: tuple[str, ...]) -> None:
    """Removes an earlier choice from a model's table. If there are several variants, which only people write, their
    settings stay."""
    below = table.get("variants", {})
    for variant in variants if len(variants) == 1 else ():
        _drop(below.get(variant, {}), SETTINGS)
        _drop_empty(below, variant)
    _drop_empty(table, "variants")
    _drop(table, ("variant", "chosen"))


def _drop(table: Any, keys: tuple[str, ...]) -> None:
    for key in keys:
        if key in table:
            del table[key]


def _drop_empty(table: Any, key: str) -> None:
    if key in table and not table[key]:
        del table[key]


def reason(decision: Mapping[str, Any]) -> str:
    """The reason for the winner, with its figures and the default's: "241 requests/s within a p99 of 50 ms; the
    default: 115 ..."."""
    winner, default, asked = decision["winner"], decision["default"], decision["objective"]
    told = _figures(asked["name"], winner)
    told += f" within a p99 of {asked['slo_p99_ms']:g} ms" if asked.get("slo_p99_ms") else ""
    told += f" at {asked['rate']:g} requests/s" if asked.get("rate") and asked["name"] != "throughput" else ""
    if default is None:
        return told
    beside = f": {_figures(asked['name'], default)}" if default["meets"] else " does not meet that"
    return f"{told}; the default{beside}"


def _figures(objective: str, finalist: Mapping[str, Any]) -> str:
    """The figures of the objective, for a finalist that meets it."""
    if objective == "latency":
        known = [(name, finalist[f"{name}_ms"]) for name in ("p50", "p99")]  # too few requests bound no p99
        return ", ".join(f"{name} {value:.3g} ms" for name, value in known if value is not None)
    if objective == "memory":
        return f"{finalist.get('gpu_memory_mib') or finalist['memory_mib']:.0f} MiB"
    return f"{finalist['requests_per_s']:.0f} requests/s"


def _applied(path: Path, model: str, winner: Mapping[str, Any]) -> str:
    """The settings that the chosen archive is served with, and those of them that were in the file before."""
    found = ModelSettings.load(path).of(Identity(winner["archive"], model, winner["variant"], ours=True))
    added = {key: value for key, value in found.items() if key not in winner["settings"]}
    also = f"; {described(added)} of that file, which was not measured, applies as well" if added else ""
    return described({key: found[key] for key in found if key not in added}) + also
