"""Reads memory, utilisation and energy of this machine's GPUs from NVIDIA's driver, with its C library NVML.

Run as a program, it prints a line of JSON every few seconds, for the front end's metrics
(serving/front_end/java/frontend/Gpus.java), and ends when its standard input does. Imports nothing of this project.
"""

from __future__ import annotations

import ctypes
import json
import select
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

LIBRARY = "libnvidia-ml.so.1"
EVERY_S = 5.0
UUID_BYTES = 96  # NVML_DEVICE_UUID_V2_BUFFER_SIZE


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class _Utilization(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))  # percent of the last moment


@dataclass(frozen=True)
class Gpu:
    """A GPU now. ``gpu`` is its index among all of the machine; memory is in bytes, ``utilization`` from 0 to 1. A
    value that the driver does not give is None."""

    gpu: str
    uuid: str
    memory_used: int | None
    memory_total: int | None
    utilization: float | None


def library() -> Any:
    """NVML, ready for calls; None without a driver."""
    try:
        found = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    return found if found.nvmlInit_v2() == 0 else None


def devices(nvml: Any) -> Iterator[tuple[int, ctypes.c_void_p]]:
    """(index, handle) of each GPU that this process may ask."""
    count = ctypes.c_uint(0)
    if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
        return
    for index in range(count.value):
        handle = ctypes.c_void_p()
        if nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)) == 0:
            yield index, handle


def gpus(nvml: Any) -> list[Gpu]:
    """All GPUs now."""
    return [_gpu(nvml, index, handle) for index, handle in devices(nvml)]


def _gpu(nvml: Any, index: int, handle: ctypes.c_void_p) -> Gpu:
    uuid, memory, used = ctypes.create_string_buffer(UUID_BYTES), _Memory(), _Utilization()
    named = nvml.nvmlDeviceGetUUID(handle, uuid, UUID_BYTES) == 0
    known = nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) == 0
    busy = nvml.nvmlDeviceGetUtilizationRates(handle, ctypes.byref(used)) == 0  # not with MIG
    return Gpu(
        str(index), uuid.value.decode() if named else "", memory.used if known else None,
        memory.total if known else None, used.gpu / 100 if busy else None,
    )  # fmt: skip


def joules(nvml: Any) -> float | None:
    """The energy that all GPUs have taken since the driver was loaded; None if the driver gives none."""
    found = []
    for _, handle in devices(nvml):
        value = ctypes.c_ulonglong(0)  # millijoules
        if nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(value)) == 0:
            found.append(value.value / 1e3)
    return sum(found) if found else None


def java_options() -> list[str]:
    """The front end's options: the program to start, if there is a GPU."""
    nvml = library()
    if nvml is None or not any(devices(nvml)):
        return []
    return [f"-Dfrontend.gpus={quote(str(Path(__file__).resolve()))}", f"-Dfrontend.python={quote(sys.executable)}"]


def main() -> None:
    """Prints the state of the GPUs until nobody listens."""
    if (nvml := library()) is None:
        return
    ended = False
    while not ended:
        print(json.dumps([asdict(each) for each in gpus(nvml)]), flush=True)
        ended = bool(select.select([sys.stdin], [], [], EVERY_S)[0])


if __name__ == "__main__":
    main()
