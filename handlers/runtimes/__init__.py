"""Runtimes: functions from NumPy arrays to NumPy arrays that run a model. The handlers do not know which one they use.

A worker builds one runtime from the unpacked archive and calls it with one array per input of the task. An engine's
library is imported only if the archive needs it.
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

    A runtime on a GPU also takes images as a tensor on that GPU. The next call may overwrite the result of this one.
    The outputs may also have the likeliest classes of "logits" (handlers.scores.BEST).
    """

    def __call__(self, *inputs: Any) -> Outputs:
        """The outputs of one batch."""


# A runtime's name and its module in this package. The module's function ``load_<name>`` builds it.
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
    """The number of cores in this process's affinity mask, which containers and taskset set."""
    return len(os.sched_getaffinity(0))


def threads(settings: Settings) -> int:
    """The number of intra-op threads of this worker: the catalog's number, or all available cores."""
    return settings.threads or available_cores()


def load_runtime(directory: Path, settings: Settings, gpu_id: int | None = None) -> Runtime:
    """Builds the runtime of an archive.

    Raises ArchiveError if the runtime cannot run on this machine. The message says how to fix it.
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
