"""How the kernels are launched.

On Hopper and newer, a kernel is launched while the one before it runs (programmatic dependent launch), so each waits
before it touches what another kernel wrote or reads. Weights are not waited for: they are asked for at once, and arrive
from the GPU's memory while the kernel before still computes.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

LINE = tl.constexpr(64)  # numbers of fp16 in 128 bytes, which the cache takes at once


@triton.jit
def after_the_kernel_before(pdl: tl.constexpr):
    """Returns when all that the kernel before wrote can be read; then the next one may start."""
    if pdl:
        gdc_wait()
        gdc_launch_dependents()


def lines(span: int) -> int:
    """How many lines ``prefetch`` has to be told of, for ``span`` numbers in a row: a power of two."""
    return triton.next_power_of_2(triton.cdiv(span, LINE.value))


@triton.jit
def prefetch(rows, span, lines: tl.constexpr):
    """Asks for ``span`` numbers of fp16 from each of the pointers ``rows`` on, and waits for none of them."""
    at = rows[:, None] + tl.minimum(tl.arange(0, lines) * LINE, span - 1)[None, :]
    tl.inline_asm_elementwise(
        "prefetch.global.L2 [$1]; mov.u32 $0, 0;", "=r,l", [at.to(tl.int64)], dtype=tl.int32, is_pure=False, pack=1
    )


@cache
def _overlaps(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0)


def launch(kernel: Any, grid: tuple[int, ...], device: torch.device, *arguments: Any, **options: Any) -> None:
    """Starts the Triton ``kernel``, whose parameter ``pdl`` says whether it has to wait for the one before it."""
    early = _overlaps(device)
    kernel[grid](*arguments, pdl=early, **options, **({"launch_pdl": True} if early else {}))
