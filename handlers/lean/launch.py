"""How the kernels are launched.

On Hopper and newer, a kernel is launched while the previous one runs (programmatic dependent launch). Each kernel
therefore waits for the previous one before it reads or writes activations. Weights never change, so they are prefetched
before that wait, while the previous kernel still computes.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

LINE = tl.constexpr(64)  # fp16 numbers in a cache line of 128 bytes


@triton.jit
def wait_for_previous_kernel(pdl: tl.constexpr):
    """Returns when the previous kernel's results can be read, and lets the next kernel start."""
    if pdl:
        gdc_wait()
        gdc_launch_dependents()


def lines(span: int) -> int:
    """The number of cache lines that hold ``span`` adjacent numbers, rounded up to a power of two, for ``prefetch``."""
    found: int = triton.next_power_of_2(triton.cdiv(span, LINE.value))
    return found


@triton.jit
def prefetch(rows, span, lines: tl.constexpr):
    """Starts to load ``span`` adjacent fp16 numbers from each pointer in ``rows`` into the L2 cache."""
    at = rows[:, None] + tl.minimum(tl.arange(0, lines) * LINE, span - 1)[None, :]
    tl.inline_asm_elementwise(
        "prefetch.global.L2 [$1]; mov.u32 $0, 0;", "=r,l", [at.to(tl.int64)], dtype=tl.int32, is_pure=False, pack=1
    )


@cache
def _overlaps(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0)


def launch(kernel: Any, grid: tuple[int, ...], device: torch.device, *arguments: Any, **options: Any) -> None:
    """Starts the Triton ``kernel``; its last parameter ``pdl`` says whether it was launched early and has to wait."""
    early = _overlaps(device)
    kernel[grid](*arguments, pdl=early, **options, **({"launch_pdl": True} if early else {}))
