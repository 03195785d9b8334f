"""The energy and GPU memory of a measurement, where this machine lets this user read them.

Knows NVML (through its C library) and Linux's RAPL counters, which often only root may read. A value that cannot be
read is None.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

RAPL = Path("/sys/class/powercap")
NVML = "libnvidia-ml.so.1"


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


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


def _nvml() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(NVML)
    except OSError:
        return None
    return library if library.nvmlInit_v2() == 0 else None


def _devices(library: ctypes.CDLL) -> list[ctypes.c_void_p]:
    count = ctypes.c_uint(0)
    if library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
        return []
    found = []
    for index in range(count.value):
        handle = ctypes.c_void_p()
        if library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)) == 0:
            found.append(handle)
    return found


def _gpu_joules() -> float | None:
    if (library := _nvml()) is None:
        return None
    total, read_any = 0.0, False
    for device in _devices(library):
        value = ctypes.c_ulonglong(0)  # millijoules
        if library.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(value)) == 0:
            total, read_any = total + value.value / 1e3, True
    return total if read_any else None


def gpu_memory_mib() -> float | None:
    """Memory in use on all GPUs together; None without one."""
    if (library := _nvml()) is None:
        return None
    used = []
    for device in _devices(library):
        memory = _Memory()
        if library.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)) == 0:
            used.append(memory.used / 2**20)
    return sum(used) if used else None


def gpu_memory_since(before: float | None) -> float | None:
    """The GPU memory in use now, less that at ``before``. Other programs' changes meanwhile count too."""
    now = gpu_memory_mib() if before is not None else None
    return round(now - before, 1) if now is not None and before is not None else None
