"""An environment with the client's wheel and its requirements, and nothing else.

The wheel is built from client/ and installed by pip. Its requirements are linked from the environment of the tests,
which has the pinned versions; so no network is needed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
import zipfile
from email.parser import Parser
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT


def wheel(folder: Path) -> Path:
    """Builds the client's wheel in ``folder``."""
    shutil.copytree(
        ROOT / "client", folder / "source", ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
    )
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, folder / "source")
    (built,) = folder.glob("*.whl")
    return built


def environment(folder: Path, built: Path, *extras: str) -> Path:
    """The Python of a new environment with the wheel and its requirements for these extras."""
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
    python = folder / "bin" / "python"
    pip("--python", python, "install", "--no-deps", "--no-index", built)
    (packages,) = folder.glob("lib/python*/site-packages")
    for name in needed(built, extras):
        for top in {file.parts[0] for file in metadata.files(name) or () if file.parts[0] not in ("..", "__pycache__")}:
            (packages / top).symlink_to(metadata.distribution(name).locate_file(top))
    return python


def needed(built: Path, extras: tuple[str, ...]) -> set[str]:
    """The distributions that the wheel needs here, directly or not."""
    with zipfile.ZipFile(built) as archive:
        (name,) = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
        asked = Parser().parsestr(archive.read(name).decode()).get_all("Requires-Dist") or []
    found: set[str] = set()
    open_ = [each for each in map(Requirement, asked) if applies(each, extras)]
    while open_:
        name = canonicalize_name(open_.pop().name)
        if name not in found:
            found.add(name)
            open_ += [each for each in map(Requirement, metadata.requires(name) or ()) if applies(each, ())]
    return found


def applies(requirement: Requirement, extras: tuple[str, ...]) -> bool:
    """Whether the requirement applies on this machine with these extras."""
    return not requirement.marker or any(requirement.marker.evaluate({"extra": each}) for each in ("", *extras))


def pip(*arguments: object) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
