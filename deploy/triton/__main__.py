"""``make triton``: writes a model repository for NVIDIA's Triton, of the archives that make serve would serve."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from deploy.triton.repository import write
from serving.choice import names
from serving.chosen import Choices
from serving.errors import ServingError
from serving.plan import Plan
from serving.store import STORE, archives

DEFAULT = Path("triton_repository")


def planned() -> Plan:
    """The archives that MODELS, VARIANTS and models.toml choose, with their settings. Raises ServingError."""
    choices = Choices.of(os.environ)
    found = archives(STORE, names(os.environ, "MODELS"), names(os.environ, "VARIANTS"), choices)
    plan = Plan.of(STORE, found, choices=choices)
    if not plan.ours:
        raise ServingError(f"{STORE} holds no archive of this project; run: make archive")
    return plan


def main() -> int:
    """Writes the repository and says what it has."""
    out = Path(os.environ.get("OUT") or DEFAULT)
    try:
        plan = planned()
        written = write(plan, out, os.environ.get("ENVIRONMENT", ""))
    except ServingError as error:
        print(error, file=sys.stderr)
        return 1
    for name in plan.foreign:
        print(f"  {name}.mar was not built by this project and is left out: its tensors are not known", file=sys.stderr)
    for folder in written:
        print(f"Written: {out / folder.name}")
    for folder in sorted(each for each in out.iterdir() if each.is_dir() and each.absolute() not in written):
        print(f"  {folder} is not of this run; Triton serves it too")
    print(f"Serve it: tritonserver --model-repository {out.absolute()}  (docs/leaving-torchserve.md)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
