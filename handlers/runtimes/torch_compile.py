"""torch.compile: Inductor compiles the eager model when the worker warms it up, for any batch size and length.

Compiled code is kept in TORCHINDUCTOR_CACHE_DIR, which the server sets to a folder that outlives it.
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
    """The eager checkpoint, compiled at its first calls. Raises ArchiveError without a C++ compiler."""
    device = device_of(settings, gpu_id)
    compiler = os.environ.get("CXX", "g++")
    if not shutil.which(compiler):
        raise ArchiveError(
            f"The variant 'compile' compiles C++ at load and there is no {compiler} here; install it "
            f"(Debian, Ubuntu: apt-get install g++) or run: make archive MODELS={settings.model} VARIANTS=frozen"
        )
    torch._inductor.config.compile_threads = 1  # more would stay behind as processes of this worker
    module = load(directory, settings).to(device)
    # Dynamic from the start: the second batch size or length would otherwise compile again.
    compiled = torch.compile(module, dynamic=True, options={"freezing": True})
    return ModuleRuntime(compiled, device, output_names(settings))
