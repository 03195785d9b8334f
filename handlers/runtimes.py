"""Runtimes: numpy batch in, numpy result out. The handler does not know which one it has.

A runtime is built once per worker from the unpacked archive and called with one array per input of the task.
torch is imported by the runtimes that need it, not by this module.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from handlers.errors import ArchiveError


class Runtime(Protocol):
    """``runtime(*inputs)`` takes int64 or uint8 arrays, batch first, and returns one float32 array, batch first."""

    def __call__(self, *inputs: np.ndarray) -> np.ndarray: ...


def available_cores() -> int:
    """Cores this process may run on: the affinity mask, which containers and taskset set, not the machine's."""
    return len(os.sched_getaffinity(0))


class TorchRuntime:
    """Calls a torch module on one device. fp32 matrix products stay fp32: no TF32 is switched on here."""

    def __init__(self, module: Any, device: Any) -> None:
        self._module = module
        self._device = device

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        import torch

        with torch.inference_mode():
            tensors = [torch.from_numpy(array).to(self._device) for array in inputs]
            return self._module(*tensors).float().cpu().numpy()


def _torch_device(settings: dict[str, Any], gpu_id: int | None) -> Any:
    import torch

    torch.set_num_threads(settings.get("threads") or available_cores())
    if settings["device"] == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ArchiveError(
            f"{settings['model']}-{settings['variant']} was built for a GPU and none is visible here; "
            f"run: make archive MODELS={settings['model']} VARIANTS={settings['variant']} DEVICE=cpu"
        )
    return torch.device("cuda", gpu_id or 0)


def _load_eager(directory: Path, settings: dict[str, Any], gpu_id: int | None) -> Runtime:
    from handlers.architectures import load_eager

    device = _torch_device(settings, gpu_id)
    return TorchRuntime(load_eager(settings["task"], directory, settings).to(device), device)


def _load_torchscript(directory: Path, settings: dict[str, Any], gpu_id: int | None) -> Runtime:
    import torch

    device = _torch_device(settings, gpu_id)
    return TorchRuntime(torch.jit.load(directory / "model.pt", map_location=device).eval(), device)


def _load_null(directory: Path, settings: dict[str, Any], gpu_id: int | None) -> Runtime:
    return lambda *inputs: np.zeros((len(inputs[0]), 0), dtype=np.float32)


LOADERS: dict[str, Callable[[Path, dict[str, Any], int | None], Runtime]] = {
    "eager": _load_eager,
    "torchscript": _load_torchscript,
    "null": _load_null,
}


def load_runtime(directory: Path, settings: dict[str, Any], gpu_id: int | None = None) -> Runtime:
    """Builds the runtime that the archive's ``settings`` name.

    Raises ArchiveError when it cannot run here; the message names the cure.
    """
    name = settings["runtime"]
    if name not in LOADERS:
        raise ArchiveError(f"The archive asks for the runtime {name!r}; known here: {', '.join(LOADERS)}.")
    return LOADERS[name](directory, settings, gpu_id)
