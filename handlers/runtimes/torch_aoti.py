"""Runs an AOTInductor package, which is compiled ahead of time for one torch version and one kind of processor or GPU.

A package for another processor would end the worker with an illegal instruction, and a package for another torch
version may crash. Both are refused here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from handlers.errors import ArchiveError
from handlers.processor import instruction_sets
from handlers.runtimes import Runtime
from handlers.runtimes.torch_module import ModuleRuntime, device_of, output_names
from handlers.settings import Settings


def target(device: torch.device) -> dict[str, Any]:
    """The requirements of a package that is compiled here for ``device``: the torch version, and the GPU's compute
    capability or the processor's instruction sets."""
    facts: dict[str, Any] = {"torch": torch.__version__.partition("+")[0]}
    if device.type == "cuda":
        return facts | {"gpu": "sm_{}{}".format(*torch.cuda.get_device_capability(device))}
    return facts | {"processor": instruction_sets()}


def require(wanted: dict[str, Any], found: dict[str, Any], model: str) -> None:
    """Raises ArchiveError if a package with the requirements ``wanted`` cannot run on ``found`` (see ``target``)."""
    reasons = [
        f"{key} {wanted[key]} (here: {found.get(key, 'none')})"
        for key in ("torch", "gpu")
        if key in wanted and wanted[key] != found.get(key)
    ]
    if lacking := sorted(set(wanted.get("processor", ())) - set(found.get("processor", ()))):
        reasons.append(f"a processor with {', '.join(lacking)}")
    if reasons:
        raise ArchiveError(
            f"{model}-aoti was compiled for {' and '.join(reasons)}; "
            f"run on this machine: make archive MODELS={model} VARIANTS=aoti"
        )


def load_aoti(directory: Path, settings: Settings, gpu_id: int | None) -> Runtime:
    """Loads model.pt2 after a check that it can run on this machine."""
    device = device_of(settings, gpu_id)
    require(settings.compiled_for, target(device), settings.model)
    package = _package(directory / "model.pt2", -1 if device.index is None else device.index)
    return ModuleRuntime(package, device, output_names(settings))


def _package(path: Path, device_index: int) -> Any:
    """The package's model. It takes one caller at a time.

    ``torch._inductor.aoti_load_package`` makes the same loader, and warns if the processors differ. For the warning it
    compiles a program per instruction set, which needs a C++ compiler and takes a minute with AVX-512 and AMX.
    ``require`` has already compared the processors.
    """
    from torch._inductor.package.package import AOTICompiledModel

    return AOTICompiledModel(torch._C._aoti.AOTIModelPackageLoader(str(path), "model", True, 1, device_index))
