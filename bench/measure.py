"""Times runtimes in turns: all variants of a model are loaded in one process and run alternately.

So changes of the machine's speed affect all variants equally. Knows callables and clocks, not reports.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

Call = Callable[[], object]

ROUNDS = 5
MINIMUM_CALLS = 5
WARM_UP_CALLS = 3
WARM_UP_SECONDS = 0.3


@dataclass
class Times:
    """Milliseconds of each call of one variant in one cell, in order."""

    milliseconds: list[float] = field(default_factory=list)


def interleaved(calls: Mapping[str, Call], seconds: float, report: Callable[[str], object]) -> dict[str, Times]:
    """Warms each call up, then times all of them in ``ROUNDS`` rounds. The order of the calls is reversed after each
    round. Each call gets about ``seconds`` in total."""
    for name, call in calls.items():
        report(f"{name}: warm-up")
        _warm_up(call)
    times = {name: Times() for name in calls}
    for round_number in range(ROUNDS):
        order: Sequence[str] = list(calls) if round_number % 2 == 0 else list(calls)[::-1]
        for name in order:
            report(f"round {round_number + 1}/{ROUNDS} {name}")
            _time(calls[name], seconds / ROUNDS, times[name].milliseconds)
    return times


def _warm_up(call: Call) -> None:
    end = time.perf_counter() + WARM_UP_SECONDS
    count = 0
    while count < WARM_UP_CALLS or time.perf_counter() < end:
        call()
        count += 1


def _time(call: Call, seconds: float, into: list[float]) -> None:
    end, least = time.perf_counter() + seconds, -(-MINIMUM_CALLS // ROUNDS)
    count = 0
    while count < least or time.perf_counter() < end:
        started = time.perf_counter()
        call()  # a runtime returns NumPy arrays, so the device has finished when it returns
        into.append((time.perf_counter() - started) * 1e3)
        count += 1


def cpu_gflops(threads: int) -> float:
    """fp32 matrix product rate of this machine, GFLOP/s: the best of ten 2048^3 products with ``threads`` threads."""
    import torch

    torch.set_num_threads(threads)
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    return 2 * 2048**3 / min(_seconds(lambda: a @ b) for _ in range(10)) / 1e9


def gpu_rates() -> dict[str, float]:
    """fp16 matrix product rate (TFLOP/s, 8192^3) and copy bandwidth (GB/s, read plus written) of the GPU."""
    import torch

    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.float16) for _ in range(2))
    source = torch.empty(2**30, device="cuda", dtype=torch.uint8).random_()
    target = torch.empty_like(source)

    def best(call: Call) -> float:
        def synchronized() -> None:
            call()
            torch.cuda.synchronize()

        synchronized()
        return min(_seconds(synchronized) for _ in range(10))

    return {
        "fp16_tflops": 2 * 8192**3 / best(lambda: a @ b) / 1e12,
        "copy_gb_per_s": 2 * 2**30 / best(lambda: target.copy_(source)) / 1e9,
    }


def _seconds(call: Call) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def as_array(times: Times) -> np.ndarray:
    """float64 [calls] of milliseconds."""
    return np.array(times.milliseconds)
