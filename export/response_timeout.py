"""Computes the response timeout, the time that TorchServe waits for a worker's answer, from the largest request.

The work of the request is counted and not measured: a build must give the same bytes each time, and another machine may
serve the archive. The worker measures its own speed and keeps within this time (handlers/budget.py). So a wrong count
does not kill a worker: a slow machine accepts smaller requests.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from handlers.budget import ADMITTED

if TYPE_CHECKING:
    from handlers.settings import Settings

# The assumed operations per second of a worker's CPU. Two cores of an AMD EPYC did 90e9 on BERT-base. So even a machine
# that is four times slower finishes the largest request in the time that a batch may take.
TRUSTED = 20e9
STEP_S, MOST_S = 60, 600  # the timeout has a limit, since a worker that hangs is replaced only after this time


def response_timeout_s(module: Any, settings: Settings, least_s: int) -> int:
    """The timeout in seconds, at least ``least_s``. On a CPU it is the time for the largest number of items of the
    greatest length, in whole minutes."""
    if settings.device != "cpu" or not settings.inputs:
        return least_s
    needed = operations(module, settings) * settings.max_items / TRUSTED / ADMITTED
    return max(least_s, min(MOST_S, STEP_S * math.ceil(needed / STEP_S)))


def operations(module: Any, settings: Settings) -> int:
    """Floating-point operations of one image, or of one text of the model's greatest length."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        module(*_largest(settings))
    return counter.get_total_flops()


def _largest(settings: Settings) -> tuple[Any, ...]:
    import torch

    tokens = settings.text.max_length if settings.text else 0
    filled = {"attention_mask": torch.ones}
    return tuple(
        filled.get(spec.name, torch.zeros)(spec.shape(1, tokens), dtype=getattr(torch, spec.dtype))
        for spec in settings.inputs
    )
