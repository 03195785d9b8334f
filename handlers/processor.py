"""The instruction sets of this processor, read without torch."""

from __future__ import annotations

import platform
from pathlib import Path

# Prefixes of the processor's flags for instructions that a compiler may use with -march=native.
INSTRUCTION_SETS = ("avx", "amx", "fma", "bmi", "f16c", "sse4", "vaes", "vpclmulqdq", "gfni", "sha_ni", "movbe", "adx")


def instruction_sets(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    """The instruction sets of this processor, sorted. If the system does not list them, the processor's
    architecture."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        lines = []
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return sorted(flag for flag in flags if flag.startswith(INSTRUCTION_SETS)) or [platform.machine()]
