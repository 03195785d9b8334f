"""Calls a torch module, eager or TorchScript, on one device.

PyTorch's defaults for TF32 are not changed. By default matrix products in fp32 do not use TF32, and cuDNN's
convolutions do, on Ampere and newer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from handlers.errors import ArchiveError, OutOfMemory
from handlers.runtimes import Outputs, Runtime, threads
from handlers.settings import Settings


class ModuleRuntime:
    """Copies a batch to the module's device, calls the module and copies the outputs back. ``names`` are the outputs'
    names, in order."""

    def __init__(self, module: Any, device: torch.device, names: Sequence[str]) -> None:
        self._module = module
        self._device = device
        self._names = tuple(names)

    def __call__(self, *inputs: np.ndarray | torch.Tensor) -> Outputs:
        """The outputs of one batch. Raises OutOfMemory, and frees the batch's memory on the GPU before."""
        with contextlib.suppress(torch.OutOfMemoryError):
            return self._forward(inputs)
        torch.cuda.empty_cache()  # outside the block above, since the error's frames keep the tensors
        raise OutOfMemory(
            f"The GPU has no memory left for these {len(inputs[0])} items; send fewer or smaller ones, or try again."
        )

    def _forward(self, inputs: tuple[np.ndarray | torch.Tensor, ...]) -> Outputs:
        with torch.inference_mode():
            results = self._module(*[torch.as_tensor(each, device=self._device) for each in inputs])
            # AOTInductor returns a list, TorchScript a tuple, and a module with one output returns that tensor.
            if isinstance(results, torch.Tensor):
                results = (results,)
            return {
                name: result.float().cpu().numpy() for name, result in zip(self._names, results, strict=True)
            }


class SharedModule(ModuleRuntime):
    """A module on the CPU that several threads may call concurrently (handlers.lanes.Shared)."""

    def __init__(self, module: Any, names: Sequence[str], threads: int) -> None:
        super().__init__(module, torch.device("cpu"), names)
        self._threads = threads

    def __call__(self, *inputs: np.ndarray | torch.Tensor) -> Outputs:
        """The outputs of one batch, computed with all intra-op threads of the worker."""
        return self.on(self._threads, *inputs)

    def on(self, threads: int, *inputs: np.ndarray | torch.Tensor) -> Outputs:
        """The outputs of one batch, computed with ``threads`` intra-op threads."""
        # Takes 0.3 us. It applies to the calling thread, and for oneMKL's products to the whole process.
        torch.set_num_threads(threads)
        return super().__call__(*inputs)


def _runtime(module: Any, device: torch.device, settings: Settings) -> Runtime:
    if device.type == "cpu":
        return SharedModule(module, output_names(settings), threads(settings))
    return ModuleRuntime(module, device, output_names(settings))


def output_names(settings: Settings) -> list[str]:
    """The names of the model's outputs, in its order."""
    return [each.name for each in settings.outputs]


def device_of(settings: Settings, gpu_id: int | None) -> torch.device:
    """The device that the archive was built for. Also sets this worker's number of intra-op threads. Raises
    ArchiveError if the archive needs a GPU and none is visible."""
    torch.set_num_threads(threads(settings))
    if settings.device == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ArchiveError(
            f"{settings.model}-{settings.variant} was built for a GPU and none is visible here; "
            f"run: make archive MODELS={settings.model} VARIANTS={settings.variant} DEVICE=cpu"
        )
    return torch.device("cuda", gpu_id or 0)


def load_eager(directory: Path, settings: Settings, gpu_id: int | None) -> Runtime:
    """Loads the checkpoint as its library does, in fp32."""
    from handlers.architectures import load_eager as load

    device = device_of(settings, gpu_id)
    return _runtime(load(directory, settings).to(device), device, settings)


def load_torchscript(directory: Path, settings: Settings, gpu_id: int | None) -> Runtime:
    """Loads model.pt. With ``Settings.freeze``, the module is frozen and optimized here, since the result is not
    portable."""
    device = device_of(settings, gpu_id)
    module = torch.jit.load(directory / "model.pt", map_location=device).eval()
    if settings.freeze:
        module = torch.jit.optimize_for_inference(torch.jit.freeze(module))
    return _runtime(module, device, settings)
