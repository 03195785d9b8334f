"""Checks of the store: who may write to it, and whether its archives are unchanged since their build."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from serving.chosen import Choices
from serving.doctor.archives import served
from serving.doctor.finding import OK, STOP, WARN, Finding, Place, size
from serving.identity import identity
from serving.model_settings import ModelSettings
from serving.plan import Plan
from serving.store import checked
from serving.versions import FOLDER

HELD = ("*.mar", "*.sha256", FOLDER, f"{FOLDER}/*", f"{FOLDER}/*/*")  # files of a store that are run or trusted


def digests(place: Place) -> Finding:
    """Compares the SHA-256 of every archive that would be served with the file that its build wrote; ``make serve``
    does the same."""
    if not list(place.store.glob("*.mar")):
        return Finding(STOP if place.set_up else WARN, f"{place.store} holds no archive yet", "run: make archive")
    digests = checked(place.store, [path.stem for path in served(place)])  # raises ServingError with the archive's name
    plan = Plan.of(place.store, digests, ModelSettings(place.models))
    total = sum((place.store / f"{name}.mar").stat().st_size for name in plan.archives)
    if plan.unchecked:
        text = f"not built by this project, and served unchecked: {', '.join(plan.unchecked)}"
        return Finding(WARN, text, "cd to the store; for each: sha256sum NAME.mar > NAME.mar.sha256, which is checked")
    return Finding(OK, f"{len(plan.archives)} archives, {size(total)}, each with the digest of its build")


def settings(place: Place) -> Finding:
    """Checks models.toml: it is readable, its keys and numbers are valid, the archives that it names exist, and its
    choices were made on this kind of machine."""
    table, choices = ModelSettings.load(place.models), Choices.load(place.models)  # raise ServingError
    if not place.models.exists():
        return Finding(OK, f"no {place.models.name}: archives are served as they were built")
    held = [identity(path) for path in place.store.glob("*.mar")]
    choices.served(place.store, held)  # raises ServingError where a chosen archive is missing
    models = {each.model for each in held}
    if unused := sorted({*table.unused(models), *choices.unused(models)}):
        return Finding(WARN, f"{place.models}: settings of models without an archive: {', '.join(unused)}",
                       "correct the names, or run: make archive")  # fmt: skip
    if elsewhere := choices.made_elsewhere(choices.models):
        return Finding(WARN, "; ".join(elsewhere), "run that command, or ignore this")
    chosen = "".join(f"; {model} is served as {choice}" for model, choice in choices.models.items())
    changed = sum(bool(table.of(each)) for each in held)
    return Finding(OK, f"{place.models.name}: settings of {changed} archives{chosen}")


def writers(place: Place) -> Finding:
    """Checks who may write to the store, since they may run code in the server."""
    if not place.store.exists():
        return Finding(OK, f"{place.store} is made by make archive")
    for path in [place.store, *(path for each in HELD for path in sorted(place.store.glob(each)))]:
        found = path.stat()
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return Finding(WARN, f"{path} is writable by others, who may then run code", f"chmod go-w {path}")
        if found.st_uid not in (0, os.getuid()):
            owner = f"{path} belongs to user {found.st_uid}, who may run code"
            return Finding(WARN, owner, f"chown {os.getuid()} {path}")
    return Finding(OK, f"{_mine(place.store)} alone may write to {place.store.name}/")


def _mine(path: Path) -> str:
    return "root" if path.stat().st_uid == 0 else "its owner"
