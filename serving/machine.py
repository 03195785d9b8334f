"""The kind of this machine: its CPU, the cores that may be used, its GPUs.

Knows where a machine states them. No fact identifies a person, or one machine among others of its kind.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from serving.environment import usable_cores


def kind() -> str:
    """This machine's kind, as in "AMD EPYC, 2 cores, no GPU"."""
    return in_words(facts())


def facts() -> dict[str, Any]:
    """``cpu``, ``cores`` that this process may use, and ``gpus`` by name."""
    return {"cpu": cpu_model(), "cores": usable_cores(), "gpus": [gpu["name"] for gpu in gpus()]}


def in_words(machine: Mapping[str, Any]) -> str:
    """A machine's kind from its ``facts``."""
    cores = f"{machine['cores']} core{'' if machine['cores'] == 1 else 's'}"
    counted = Counter(machine["gpus"])
    named = [name if count == 1 else f"{count} x {name}" for name, count in sorted(counted.items())]
    return ", ".join([machine["cpu"], cores, *(named or ["no GPU"])])


def cpu_model() -> str:
    """The name of the CPU, from Linux, else from Python."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def gpus() -> list[dict[str, str]]:
    """Name, memory and driver of each GPU; empty without nvidia-smi."""
    if shutil.which("nvidia-smi") is None:
        return []
    text = output(["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"])
    keys = ("name", "memory", "driver")
    lines = [[cell.strip() for cell in line.split(",")] for line in text.splitlines()]
    return [dict(zip(keys, cells, strict=True)) for cells in lines if len(cells) == len(keys)]


def output(command: Sequence[str]) -> str:
    """The output of a command; "" if it fails or takes more than 20 s."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
