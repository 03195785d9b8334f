"""Steps for Inductor: it compiles at load, or ahead of time into a package that loads quickly."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from export.steps.draft import Draft, StepError, step


@step
def compile_at_load(draft: Draft) -> None:
    """Compiles with torch.compile in the worker. The machine's compiler cache makes later loads short."""
    draft.runtime = "compile"


@step
def to_aoti(draft: Draft) -> None:
    """Makes an AOTInductor package for any batch size and length, and records the machine that it needs."""
    from handlers.runtimes.torch_aoti import target

    draft.runtime = "aoti"
    draft.settings["compiled_for"] = target(draft.examples[0].device)
    draft.save = lambda stage: write_package(draft, stage / "model.pt2")


def write_package(draft: Draft, path: Path) -> None:
    """Compiles the draft's module with AOTInductor into the file ``path``. Raises StepError without a compiler."""
    import torch

    module, examples = draft.module, draft.examples
    free = torch.export.Dim.AUTO  # within the model's own limits, such as BERT's 512 positions
    shapes = draft.dynamic_shapes(free, free)
    # Freezing folds batch norms and arranges the weights for the device.
    configs = {"freezing": True, "cpp.cxx": (None, compiler())}
    with torch.inference_mode():
        program = torch.export.export(module, examples, dynamic_shapes=shapes)
        torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=configs)


def compiler() -> str:
    """A C++ compiler that links libstdc++ as a shared library: ``$CXX`` or the system's. Raises StepError.

    A package with a static libstdc++ crashes in torch's process: it calls std::regex for the device's name, which then
    uses the locale facets of torch's copy of libstdc++.
    """
    for name in (os.environ.get("CXX"), "g++", "/usr/bin/g++"):
        if name and has_shared_library(name):
            return name
    raise StepError(
        "AOTInductor needs a C++ compiler with a shared libstdc++ and found none ($CXX, g++, /usr/bin/g++); "
        "install one (Debian, Ubuntu: apt-get install g++)"
    )


def has_shared_library(name: str) -> bool:
    """Whether the C++ compiler ``name`` exists and has a shared libstdc++."""
    try:
        printed = subprocess.run([name, "-print-file-name=libstdc++.so"], capture_output=True, text=True, timeout=30)
    except OSError:
        return False
    return Path(printed.stdout.strip()).is_absolute()  # a compiler without this file prints only its name
