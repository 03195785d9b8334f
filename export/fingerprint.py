"""A digest of everything that an archive is made from. If the fingerprints are equal, building again would change
nothing.

Reads sources and installed versions; imports neither torch nor the models, so that a no-op build stays instant.
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
# The catalog is represented by the archive's row. The other modules only plan and show.
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
    """Hex digest over the row, the weights' identity, the sources, the device and the installed versions; for what is
    compiled ahead, also the kind of processor or GPU."""
    facts = {
        "model": asdict(row.model),
        "variant": asdict(row.variant),
        "device": device,
        "machine": platform.machine(),
        "weights": identity(row.model, choice),
        # Only the engines that this variant is built with: installing another must not make it out of date.
        "packages": installed((*PACKAGES, *(name for each in engines(row.variant) for name in each.packages))),
        "sources": _sources(),
    }
    if row.model.handler:
        facts["handler"] = digest(row.model)
    if "to_aoti" in row.variant.steps:  # another machine refuses the archive and names "make archive" as the fix
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
