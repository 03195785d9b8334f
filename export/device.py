"""DEVICE=auto|cpu|gpu (or cuda, the same): the device that archives are built for.

Calls the driver's library, since planning must not import torch.
"""

from __future__ import annotations

import ctypes

from export.catalog import DEVICE_SYNONYMS

DRIVER = "libcuda.so.1"
COMPUTE_CAPABILITY = (75, 76)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR in cuda.h


class DeviceError(Exception):
    """The requested device is unknown or absent."""


def resolve_device(wanted: str) -> str:
    """ "cpu" or "gpu". ``auto`` is the GPU if there is one, and ``cuda`` is a synonym of gpu. Raises DeviceError."""
    wanted = DEVICE_SYNONYMS.get(wanted, wanted)
    if wanted not in ("auto", "cpu", "gpu"):
        raise DeviceError(f"DEVICE is {wanted!r}; it may be auto, cpu or gpu (cuda is gpu).")
    if wanted == "cpu":
        return "cpu"
    present = gpu_count() > 0
    if wanted == "gpu" and not present:
        raise DeviceError("DEVICE is gpu and no CUDA device is visible here; use DEVICE=cpu.")
    return "gpu" if present else "cpu"


def gpu_count(library: str = DRIVER) -> int:
    """The number of CUDA devices that are visible to this process; 0 without a driver."""
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def gpu_capability(library: str = DRIVER) -> tuple[int, int] | None:
    """The compute capability of the first GPU, such as (9, 0); None without a GPU."""
    if not gpu_count(library):
        return None
    driver, found = ctypes.CDLL(library), []
    for attribute in COMPUTE_CAPABILITY:
        value = ctypes.c_int(0)
        if driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, 0) != 0:
            return None
        found.append(value.value)
    return found[0], found[1]


def gpu_architecture(library: str = DRIVER) -> str:
    """The kind of the first GPU, such as "sm_90"; empty without one."""
    found = gpu_capability(library)
    return "sm_{}{}".format(*found) if found else ""
