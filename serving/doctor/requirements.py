"""Compares the versions that pyproject.toml allows with the installed ones.

Reads names and plain version ranges from the file's lines, since Python 3.10 has no TOML reader and this runs before
``packaging`` is installed. Imports none of the packages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_LINE = re.compile(r'^\s*"([A-Za-z0-9._-]+)((?:[<>=]=?[\d.]+,?)*)"', re.MULTILINE)
_BOUND = re.compile(r"([<>=]=?)([\d.]+)")


@dataclass(frozen=True)
class Requirement:
    """A package and the range that this project is tested with, as it stands in pyproject.toml."""

    name: str
    allowed: str

    def installed(self) -> str | None:
        """The installed version, or None."""
        try:
            return version(self.name)
        except PackageNotFoundError:
            return None

    def allows(self, found: str) -> bool:
        """Whether ``found`` is in the range. Suffixes after the numbers (+cu130, rc1) do not count."""
        return allows(self.allowed, found)


def requirements(pyproject: Path) -> list[Requirement]:
    """The project's own dependencies, without extras and without those that only older Pythons need."""
    text = pyproject.read_text()
    block = text.partition("\ndependencies = [")[2].partition("\n]")[0]
    return [Requirement(name, allowed) for name, allowed in _LINE.findall(block)]


def python_range(pyproject: Path) -> str:
    """The value of ``requires-python``."""
    stated = re.search(r'^requires-python = "([^"]+)"', pyproject.read_text(), re.MULTILINE)
    return stated[1] if stated else ""


def allows(bounds: str, found: str) -> bool:
    """Whether the version ``found`` meets every bound of a range such as ``>=2.11,<2.15``."""
    return all(_meets(operator, _numbers(bound), _numbers(found)) for operator, bound in _BOUND.findall(bounds))


def _meets(operator: str, bound: tuple[int, ...], found: tuple[int, ...]) -> bool:
    if operator == "==":
        return found == bound
    return found >= bound if operator == ">=" else found < bound


def _numbers(text: str) -> tuple[int, ...]:
    leading = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in leading[0].split(".")) if leading else ()
