"""How many workers an archive gets on a GPU where nobody says: as many as the machine has room for.

One worker's Python answers some 7,000 texts a second on a fast host, a tenth of what its GPU can do; so several share a
GPU (docs/measurement.md, Levers). Knows cores, GPUs and their memory. On a CPU an archive keeps the one worker that it
was built with: more workers there are a trade, which make choose measures.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from serving.machine import gpus

CORES = 2  # of the machine for each worker: one runs Python, the other the tokenizer's threads and the front end
MOST = 4  # on one GPU
GPU_BYTES = 6e9  # of one worker, with its CUDA context; bert-graph takes 4.5e9


def automatic(configs: Mapping[str, Mapping[str, Any]], cores: int) -> dict[str, int]:
    """{archive: workers} of those that get more than the one they were built with. ``configs`` has the settings of all
    archives that are to be served, as in their model-config.yaml."""
    names = [name for name, config in configs.items() if _on_gpu(config)]
    workers = share(cores, _memory(), len(names)) if names else 1
    return dict.fromkeys(names, workers) if workers > 1 else {}


def share(cores: int, gpu_bytes: Sequence[float], archives: int) -> int:
    """Workers of each of ``archives`` archives; ``gpu_bytes`` is each GPU's memory."""
    by_memory = sum(int(each // GPU_BYTES) for each in gpu_bytes) // archives
    return max(1, min(MOST * len(gpu_bytes), cores // CORES // archives, by_memory))


def _on_gpu(config: Mapping[str, Any]) -> bool:
    return config.get("deviceType") == "gpu" and (config.get("archive") or {}).get("runtime") not in (None, "null")


def _memory() -> list[float]:
    """Bytes of each GPU."""
    found = (re.match(r"(\d+) MiB", gpu["memory"]) for gpu in gpus())
    return [float(each[1]) * 2**20 for each in found if each]
