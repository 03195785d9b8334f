"""Checks the GPU and its driver against torch's CUDA build and the store's archives.

Asks the driver's library and reads torch's version file; importing torch would take seconds.
"""

from __future__ import annotations

import ctypes
import re
from importlib.metadata import PackageNotFoundError, distribution

from serving.doctor.archives import needs
from serving.doctor.finding import OK, STOP, WARN, Finding, Place

NVIDIA = "0x10de"
DISPLAY = "0x03"  # the PCI classes of graphics cards and accelerators begin with these


def gpu(place: Place) -> Finding:
    """STOP when the store holds archives for a GPU that cannot be used."""
    wanted = [need.name for need in needs(place) if need.device == "gpu"]
    problem = _problem(place)
    if problem is None:
        count, driver = _driver(place.cuda_driver)
        assert driver is not None  # without one there is a problem
        return Finding(OK, f"{count} visible, driver for CUDA {_dotted(driver)}, torch for CUDA {_torch_cuda()}")
    text, cure, matters = problem
    if wanted:
        named = f"{text}; built for a GPU: {', '.join(wanted[:3])}"
        return Finding(STOP, named, f"{cure}, or build for the CPU: make archive DEVICE=cpu")
    return Finding(WARN if matters else OK, text, cure if matters else "")


def _problem(place: Place) -> tuple[str, str, bool] | None:
    """(what is wrong, its cure, whether a machine without GPU archives should be told), or None."""
    count, driver = _driver(place.cuda_driver)
    cards = _cards(place)
    if driver is None:
        if cards:
            return f"{cards} NVIDIA card(s), and no driver that loads", "install NVIDIA's driver", True
        return "none: archives are built for the CPU", "use a machine with a GPU", False
    if count == 0:
        return f"a driver for CUDA {_dotted(driver)} shows no GPU to this process", "check CUDA_VISIBLE_DEVICES", True
    build = _torch_cuda()
    if build is None:
        return f"{count} visible, and torch is a build without CUDA", "install torch's CUDA build", True
    if driver // 1000 < int(build.split(".")[0]):  # older drivers run newer builds of the same major version
        newer = "update NVIDIA's driver, or install a torch built for an older CUDA"
        return f"the driver is for CUDA {_dotted(driver)}, torch {build} needs a newer one", newer, True
    return None


def _driver(library: str) -> tuple[int, int | None]:
    """(GPUs that the driver shows, the newest CUDA that it runs as 1000 * major + 10 * minor or None)."""
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return 0, None
    version, count = ctypes.c_int(0), ctypes.c_int(0)
    if driver.cuDriverGetVersion(ctypes.byref(version)) != 0 or not version.value:
        return 0, None
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0, version.value
    return count.value, version.value


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


def _torch_cuda() -> str | None:
    """The CUDA version that the installed torch is built for, or None."""
    try:
        text = distribution("torch").locate_file("torch/version.py").read_text()
    except (PackageNotFoundError, OSError):
        return None
    stated = re.search(r"^cuda\b[^=]*= '([\d.]+)'", text, re.MULTILINE)
    return stated[1] if stated else None


def _cards(place: Place) -> int:
    """NVIDIA cards on the PCI bus, whether or not a driver has them."""
    vendors = [path for path in place.devices.glob("*/vendor") if path.read_text().strip() == NVIDIA]
    return sum(path.with_name("class").read_text().startswith(DISPLAY) for path in vendors)
