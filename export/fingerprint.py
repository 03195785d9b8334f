"""A digest of everything that an archive is made from. If the fingerprints are equal, building again would change
nothing.

Reads sources and installed versions. Imports neither torch nor the models, so that a check without a build is fast.
"""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict
from pathlib import Path

from export.catalog import ENGINES, Engine, Row, Variant
from export.device import gpu_architecture
from export.own_handler import digest
from export.weights import Choice, identity
from handlers.description import installed
from handlers.processor import instruction_sets

HERE = Path(__file__).resolve().parent
# The fingerprint has the archive's row instead of the whole catalog. The other modules only plan and print.
NOT_BUILDING = {
    "catalog.py", "__main__.py", "extras.py", "fits.py", "hub.py", "list_models.py", "options.py", "own_models.py",
    "own_store.py", "progress.py",
}  # fmt: skip
PACKAGES = (
    "torch",
    "torchvision",
    "transformers",
    "tokenizers",
    "safetensors",
    "torch-model-archiver",
    "numpy",
    "pillow",
    "scikit-learn",
)


def fingerprint(row: Row, device: str, choice: Choice) -> str:
    """Hex digest of the row, the weights' identity, the sources, the device and the installed versions. For a package
    that is compiled ahead of time, also of the kind of processor or GPU."""
    facts = {
        "model": asdict(row.model),
        "variant": asdict(row.variant),
        "device": device,
        "machine": platform.machine(),
        "weights": identity(row.model, choice),
        # Only this variant's engines: installing another engine must not make the archive out of date.
        "packages": installed((*PACKAGES, *(name for each in engines(row.variant) for name in each.packages))),
        "sources": _sources(),
    }
    if row.model.handler:
        facts["handler"] = digest(row.model)
    if "to_aoti" in row.variant.steps:  # on another machine, "make archive" has to build it again
        facts["compiled_for"] = gpu_architecture() if device == "gpu" else instruction_sets()
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def engines(variant: Variant) -> list[Engine]:
    """The engines that a variant is built with."""
    return [engine for engine in ENGINES if engine.step in variant.steps]


def _sources() -> str:
    digest = hashlib.sha256()
    found = [path for path in HERE.rglob("*") if path.suffix in (".py", ".txt")]
    building = [path for path in found if path.relative_to(HERE).as_posix() not in NOT_BUILDING]
    for path in sorted([*building, *(HERE.parent / "handlers").rglob("*.py")]):
        digest.update(path.relative_to(HERE.parent).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
