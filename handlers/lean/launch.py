"""How the kernels are launched.

On Hopper and newer, a kernel is launched while the one before it drains (programmatic dependent launch), so each
waits before it touches memory.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch


@cache
def _overlaps(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0)


def launch(kernel: Any, grid: tuple[int, ...], device: torch.device, *arguments: Any, **options: Any) -> None:
    """Starts the Triton ``kernel``, whose parameter ``pdl`` says whether it has to wait for the one before it."""
    early = _overlaps(device)
    kernel[grid](*arguments, pdl=early, **options, **({"launch_pdl": True} if early else {}))
