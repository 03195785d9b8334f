"""Checks of the interpreter and of its installed packages. Reads metadata; imports no package."""

from __future__ import annotations

import importlib.util
import platform
import re
import sys
from importlib.metadata import requires

from serving.doctor.finding import OK, STOP, WARN, Finding, Place
from serving.doctor.requirements import Requirement, allows, python_range, requirements

PIN = "pip install -c constraints.txt ."


def interpreter(place: Place) -> Finding:
    """Python's version and, before setup, whether it can make a virtual environment."""
    found, wanted = platform.python_version(), python_range(place.root / "pyproject.toml")
    if not allows(wanted, found):
        return Finding(
            STOP,
            f"{found} ({sys.executable}); {wanted} is needed",
            "install Python 3.12, or name another interpreter: make ... PYTHON=/path/to/python3",
        )
    if not place.set_up and not importlib.util.find_spec("ensurepip"):
        without = f"{found} cannot make a virtual environment"
        return Finding(STOP, without, "on Debian and Ubuntu: apt install python3-venv")
    return Finding(OK, f"{found} ({sys.executable})")


def torch_pair(place: Place) -> Finding:
    """Checks that torch and torchvision are in their ranges and fit each other. A mismatch fails at import."""
    torch, vision = _installed(place, "torch"), _installed(place, "torchvision")
    if not torch or not vision:
        return place.absent("torch and torchvision are not both installed")
    pinned = _torch_of_torchvision()
    if pinned and not allows(f"=={pinned}", torch):
        return Finding(STOP, f"torchvision {vision} is built for torch {pinned}; torch here is {torch}", PIN)
    return _in_range(place, {"torch": torch, "torchvision": vision})


def _torch_of_torchvision() -> str | None:
    """The version of torch that torchvision's metadata pins. Vendors' own builds pin none."""
    stated = [re.match(r"torch\s*\(?==([\d.]+)", line) for line in requires("torchvision") or []]
    return next((match[1] for match in stated if match), None)


def transformers(place: Place) -> Finding:
    """Checks transformers, which eager text archives and the export need."""
    found = _installed(place, "transformers")
    return _in_range(place, {"transformers": found}) if found else place.absent("not installed")


def packages(place: Place) -> Finding:
    """Checks the other packages that pyproject.toml names."""
    wanted = requirements(place.root / "pyproject.toml")
    found = {each: each.installed() for each in wanted}
    missing = [each.name for each in wanted if not found[each]]
    if missing:
        return place.absent(f"{len(missing)} of {len(wanted)} not installed: {', '.join(missing[:6])}")
    other = [f"{each.name} {found[each]} ({each.allowed})" for each in wanted if not each.allows(found[each] or "")]
    if other:
        return Finding(WARN, f"not in the tested range: {', '.join(other[:4])}", PIN)
    return Finding(OK, f"all {len(wanted)} of pyproject.toml, in range")


def _installed(place: Place, name: str) -> str | None:
    return _requirement(place, name).installed()


def _requirement(place: Place, name: str) -> Requirement:
    return next(each for each in requirements(place.root / "pyproject.toml") if each.name == name)


def _in_range(place: Place, found: dict[str, str]) -> Finding:
    text = ", ".join(f"{name} {version}" for name, version in found.items())
    outside = [_requirement(place, name) for name in found if not _requirement(place, name).allows(found[name])]
    if outside:
        tested = ", ".join(f"{each.name} {each.allowed}" for each in outside)
        return Finding(WARN, f"{text}; tested: {tested}", PIN)
    return Finding(OK, text)
