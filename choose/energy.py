"""The energy and GPU memory of a measurement, where this machine lets this user read them.

Knows NVML (serving/nvml.py) and Linux's RAPL counters, which often only root may read. A value that cannot be
read is None.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from serving import nvml

RAPL = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Reading:
    """Counters of joules by source: GPUs, and processor packages, with the value at which each counter wraps around."""

    gpu: float | None
    packages: dict[str, tuple[float, float]]

    def since(self, before: Reading) -> float | None:
        """Joules from ``before`` to this reading, of all sources in both; None without one."""
        spent = [self.gpu - before.gpu] if self.gpu is not None and before.gpu is not None else []
        for name, (now, wraps) in self.packages.items():
            if name in before.packages:
                spent.append((now - before.packages[name][0]) % wraps)
        return sum(spent) if spent else None


def read() -> Reading:
    """The counters now."""
    return Reading(_gpu_joules(), _packages())


def _packages() -> dict[str, tuple[float, float]]:
    found = {}
    for folder in sorted(RAPL.glob("intel-rapl:*")):
        if folder.name.count(":") > 1:  # a part of a package, which already counts it
            continue
        try:
            values = [int((folder / name).read_text()) / 1e6 for name in ("energy_uj", "max_energy_range_uj")]
        except (OSError, ValueError):
            continue
        found[folder.name] = (values[0], values[1])
    return found


def _gpu_joules() -> float | None:
    library = nvml.library()
    return nvml.joules(library) if library else None


def gpu_memory_mib() -> float | None:
    """Memory in use on all GPUs together; None without one."""
    if (library := nvml.library()) is None:
        return None
    used = [each.memory_used for each in nvml.gpus(library) if each.memory_used is not None]
    return sum(used) / 2**20 if used else None


def gpu_memory_since(before: float | None) -> float | None:
    """The GPU memory in use now, less that at ``before``. Other programs' changes meanwhile count too."""
    now = gpu_memory_mib() if before is not None else None
    return round(now - before, 1) if now is not None and before is not None else None
