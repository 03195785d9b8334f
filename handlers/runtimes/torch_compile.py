"""Runs the model with torch.compile. Inductor compiles it during the worker's warm-up, for any batch size and length.

Compiled code is kept in TORCHINDUCTOR_CACHE_DIR. The server sets this variable to a folder that is kept between runs.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch
import torch._inductor.config

from handlers.architectures import load_eager as load
from handlers.errors import ArchiveError
from handlers.runtimes import Runtime
from handlers.runtimes.torch_module import ModuleRuntime, device_of, output_names
from handlers.settings import Settings


def load_compile(directory: Path, settings: Settings, gpu_id: int | None) -> Runtime:
    """Loads the eager checkpoint, to be compiled at its first calls. Raises ArchiveError without a C++ compiler."""
    device = device_of(settings, gpu_id)
    compiler = os.environ.get("CXX", "g++")
    if not shutil.which(compiler):
        raise ArchiveError(
            f"The variant 'compile' compiles C++ at load and there is no {compiler} here; install it "
            f"(Debian, Ubuntu: apt-get install g++) or run: make archive MODELS={settings.model} VARIANTS=frozen"
        )
    torch._inductor.config.compile_threads = 1  # with more, child processes would remain after the compilation
    module = load(directory, settings).to(device)
    # Without dynamic shapes, the second batch size or length would compile the model again.
    compiled = torch.compile(module, dynamic=True, options={"freezing": True})
    return ModuleRuntime(compiled, device, output_names(settings))
