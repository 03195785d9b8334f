"""The number of workers of an archive on a GPU, where the user gives none.

The Python code of one worker is slower than its GPU (docs/served-results.md, Levers), so several workers share a GPU.
Their number depends on the machine's cores, its GPUs and their memory. On a CPU an archive keeps the one worker that it
was built with. More workers on a CPU raise throughput and latency; make choose measures both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from serving.machine import gpus

CORES = 2  # cores for each worker: one runs its Python code, one the tokenizer's threads and the front end
MOST = 4  # on one GPU: with eight, resnet50-graph answered fewer requests (docs/served-results.md, Levers)
ONE_WORKER = (None, "null", "explain")  # with these runtimes, more workers answer no more requests
GPU_BYTES = 6e9  # GPU memory of one worker with its CUDA context; bert-graph needs 4.4e9


def automatic(configs: Mapping[str, Mapping[str, Any]], cores: int, servers: int = 1) -> dict[str, int]:
    """{archive: workers} of the archives that get more than one. ``configs`` has the settings of all archives of the
    server, as in their model-config.yaml. ``servers`` servers share the machine."""
    names = [name for name, config in configs.items() if _on_gpu(config)]
    workers = share(cores, gpu_memory(), len(names) * servers) if names else 1
    return dict.fromkeys(names, workers) if workers > 1 else {}


def share(cores: int, gpu_bytes: Sequence[float], count: int) -> int:
    """Workers of each of ``count`` archives; ``gpu_bytes`` is each GPU's memory."""
    by_memory = sum(int(each // GPU_BYTES) for each in gpu_bytes) // count
    return max(1, min(MOST * len(gpu_bytes), cores // CORES // count, by_memory))


def _on_gpu(config: Mapping[str, Any]) -> bool:
    return config.get("deviceType") == "gpu" and (config.get("archive") or {}).get("runtime") not in ONE_WORKER


@cache  # nvidia-smi takes up to a second, and make doctor asks for each of its checks
def gpu_memory() -> tuple[float, ...]:
    """Bytes of memory of each GPU."""
    found = (re.match(r"(\d+) MiB", gpu["memory"]) for gpu in gpus())
    return tuple(float(each[1]) * 2**20 for each in found if each)
