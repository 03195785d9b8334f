"""Inductor: compiled at load, or ahead of time into a package that loads at once."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from export.steps.draft import Draft, StepError, step


@step
def compile_at_load(draft: Draft) -> None:
    """torch.compile in the worker; the machine's compiler cache makes every load after the first one short."""
    draft.runtime = "compile"


@step
def to_aoti(draft: Draft) -> None:
    """An AOTInductor package of any batch size and length, with what it was compiled for beside it."""
    from handlers.runtimes.torch_aoti import target

    draft.runtime = "aoti"
    draft.settings["compiled_for"] = target(draft.examples[0].device)
    draft.save = lambda stage: _package(draft, stage / "model.pt2")


def _package(draft: Draft, path: Path) -> None:
    import torch

    module, examples = draft.module, draft.examples
    free = torch.export.Dim.AUTO  # with the limits that the model itself has, such as BERT's 512 positions
    shapes = draft.dynamic_shapes(free, free)
    # Freezing folds batch norms and lays weights out for the device, which packages are for.
    configs = {"freezing": True, "cpp.cxx": (None, compiler())}
    with torch.inference_mode():
        program = torch.export.export(module, examples, dynamic_shapes=shapes)
        torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=configs)


def compiler() -> str:
    """A C++ compiler that links libstdc++ as a shared library: ``$CXX`` or the system's. Raises StepError.

    A package with a libstdc++ of its own crashes when it is loaded beside torch: its std::regex, called for the
    device's name, finds the locale facets of the other copy.
    """
    for name in (os.environ.get("CXX"), "g++", "/usr/bin/g++"):
        if name and _has_shared_library(name):
            return name
    raise StepError(
        "AOTInductor needs a C++ compiler with a shared libstdc++ and found none ($CXX, g++, /usr/bin/g++); "
        "install one (Debian, Ubuntu: apt-get install g++)"
    )


def _has_shared_library(name: str) -> bool:
    try:
        printed = subprocess.run([name, "-print-file-name=libstdc++.so"], capture_output=True, text=True, timeout=30)
    except OSError:
        return False
    return Path(printed.stdout.strip()).is_absolute()  # the bare name is echoed where there is none
