"""A server with only ``null``, for a module whose tests need other settings than the shared server's."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.client import Client
from serving.config import Config
from serving.state import RunDirectory
from tests.conftest import Served, run, write_config


def store_of_null(store: Path, folder: Path) -> Path:
    """A store in ``folder`` that holds a copy of ``null`` and its digest."""
    own = folder / "store"
    own.mkdir()
    for name in ("null.mar", "null.mar.sha256"):
        shutil.copy(store / name, own)
    return own


@contextmanager
def serving_null(store: Path, folder: Path, environment: dict[str, str], **properties: str) -> Iterator[Served]:
    """Serves ``store`` with these properties, started from a shell with these variables."""
    config, directory = write_config(folder / "config.properties", **properties), RunDirectory(folder / "run")
    place = {"CONFIG": str(config), "RUN_DIR": str(directory.path), "MODEL_STORE": str(store)}
    place |= {"MODELS": "", "VARIANTS": ""}
    started = run("serving", "serve", **place, **environment)
    assert started.returncode == 0, started.stderr
    loaded = Config.load(config)
    try:
        yield Served(place, Client(loaded, directory.key_file), loaded, directory, ["null"])
    finally:
        assert run("serving", "stop", **place).returncode == 0
