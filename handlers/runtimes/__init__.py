"""Runtimes: numpy batch in, numpy result out. The handler does not know which one it has.

A runtime is built once per worker from the unpacked archive and called with one array per input of the task. An
engine's library is imported only when an archive asks for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from handlers.errors import ArchiveError
from handlers.settings import Settings

Outputs = Mapping[str, np.ndarray]


class Runtime(Protocol):
    """``runtime(*inputs)`` takes int64 or uint8 arrays in the order of ``Settings.inputs``, batch first, and returns
    float32 arrays by the names of ``Settings.outputs``, batch first.

    A runtime on a GPU takes images as a tensor of that GPU, too. The result is the caller's until the next call, which
    may overwrite it. Beside "logits" there may be their likeliest classes, handlers.scores.BEST.
    """

    def __call__(self, *inputs: Any) -> Outputs:
        """The outputs of one batch."""


# name -> the module of this package that loads it, by its function ``load_<name>``
RUNTIMES = {
    "eager": "torch_module",
    "torchscript": "torch_module",
    "compile": "torch_compile",
    "aoti": "torch_aoti",
    "graph": "cuda_graph",
    "onnx": "onnx_runtime",
    "openvino": "openvino_runtime",
    "explain": "torch_captum",
    "null": "null",
}


def available_cores() -> int:
    """Cores this process may run on: the affinity mask, which containers and taskset set, not the machine's."""
    return len(os.sched_getaffinity(0))


def threads(settings: Settings) -> int:
    """Intra-op threads of this worker: the catalog's number, or all its cores."""
    return settings.threads or available_cores()


def load_runtime(directory: Path, settings: Settings, gpu_id: int | None = None) -> Runtime:
    """Builds the runtime that the archive's ``settings`` name.

    Raises ArchiveError when it cannot run here; the message names the cure.
    """
    name = settings.runtime
    if name not in RUNTIMES:
        raise ArchiveError(f"The archive asks for the runtime {name!r}; known here: {', '.join(RUNTIMES)}.")
    load: Callable[..., Runtime] = getattr(import_module(f"handlers.runtimes.{RUNTIMES[name]}"), f"load_{name}")
    try:
        return load(directory, settings, gpu_id)
    except (ArchiveError, ImportError):
        raise
    except Exception as error:
        model, variant = settings.model, settings.variant
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ArchiveError(
            f"The model of {model}-{variant} cannot be loaded ({reason}); build it again: "
            f"make archive MODELS={model} VARIANTS={variant}"
        ) from error
