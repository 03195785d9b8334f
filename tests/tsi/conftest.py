"""The project as users get it: a source distribution, its wheel, and an environment with that installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest

from tests.conftest import ROOT

NOT_SOURCE = shutil.ignore_patterns(
    ".git", ".venv", ".cache", ".run", ".gpu", "site", "results", "*.mar*", "__pycache__", "*.egg-info", "build"
)
# Files that a checkout gathers and no distribution may have.
LITTER = (
    "serving/__pycache__/plan.cpython-311.pyc", "loadtest/results/run.json", "handlers/.coverage", "serving/x.pyc",
)  # fmt: skip


def pip(*arguments: str | Path, cwd: Path) -> None:
    """Runs pip without a network, with the setuptools of this environment."""
    command = [sys.executable, "-m", "pip", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def wheel_of(source: Path, to: Path) -> Path:
    """The wheel that pip builds of a folder."""
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", to, source, cwd=to)
    (wheel,) = to.glob("*.whl")
    return wheel


def sdist_of(source: Path, to: Path) -> Path:
    """The source distribution of a folder, and the folder that it is unpacked into."""
    code = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, str(to)], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (sdist,) = to.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(to, filter="data")
    return to / sdist.name.removesuffix(".tar.gz")


def copied(name: str, to: Path) -> Path:
    """A copy of the checkout, or of one of its folders, with litter."""
    source = shutil.copytree(ROOT / name, to / "source", ignore=NOT_SOURCE)
    for file in LITTER if not name else ("tsi_client/__pycache__/client.pyc", "tests/test_client.py"):
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        (source / file).write_text("")
    return source


@pytest.fixture(scope="session")
def source(tmp_path_factory) -> Path:
    """A copy of the checkout, with litter."""
    return copied("", tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def wheel(source, tmp_path_factory) -> Path:
    """The project's wheel, as ``pip install .`` builds it."""
    return wheel_of(source, tmp_path_factory.mktemp("wheel"))


def environment(folder: Path, *requirement: str | Path) -> Path:
    """The ``bin`` of a new environment with the packages of this one, and the requirement."""
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    ours = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages / "ours.pth").write_text("\n".join(ours))
    pip("--python", folder / "bin" / "python", "install", "--no-deps", "--no-build-isolation", "--no-index",
        *requirement, cwd=folder)  # fmt: skip
    return folder / "bin"


@pytest.fixture(scope="session")
def installed(wheel, tmp_path_factory) -> Path:
    """The ``bin`` of an environment in which the wheel is installed."""
    return environment(tmp_path_factory.mktemp("environment"), wheel)
