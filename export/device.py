"""DEVICE=auto|cpu|gpu: which device archives are built for.

Asks the driver's library, not torch: planning must not import torch.
"""

from __future__ import annotations

import ctypes


class DeviceError(Exception):
    """The device asked for is unknown or absent."""


def resolve_device(wanted: str) -> str:
    """ "cpu" or "gpu". ``auto`` is the GPU where there is one. Raises DeviceError."""
    if wanted not in ("auto", "cpu", "gpu"):
        raise DeviceError(f"DEVICE is {wanted!r}; it may be auto, cpu or gpu.")
    if wanted == "cpu":
        return "cpu"
    present = gpu_count() > 0
    if wanted == "gpu" and not present:
        raise DeviceError("DEVICE is gpu and no CUDA device is visible here; use DEVICE=cpu.")
    return "gpu" if present else "cpu"


def gpu_count() -> int:
    """CUDA devices that the driver shows to this process; 0 without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value
