"""Where the project's code is, and where a user's files are.

In a checkout both are one folder. An installed ``tsi`` carries the code in its own package, in a folder that is on no
import path: a served archive can never import it by accident.
"""

from __future__ import annotations

import re
from importlib.metadata import version as installed
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUNDLED = HERE / "code"
CODE = BUNDLED if BUNDLED.is_dir() else HERE.parent
CACHE = ".tsi"  # not .cache, which is a user's own folder where the current one is the home folder

# The variable of each place, and what it is in the current folder. In a checkout, the code has the same defaults.
PLACES = {
    "RUN_DIR": ".run", "MODEL_STORE": "model_store", "MODELS_FILE": "models.toml",
    "BENCH_STORE": f"{CACHE}/stores/bench", "CHOOSE_STORE": f"{CACHE}/stores/choose",
    "WEIGHTS_CACHE": f"{CACHE}/weights", "TORCHINDUCTOR_CACHE_DIR": f"{CACHE}/inductor",
    "LEAN_CHOICES": f"{CACHE}/lean",
}  # fmt: skip
RESULTS = {
    "bench": {"OUT": "results/bench.json"}, "soak": {"OUT": "results/soak.json"},
    "loadtest": {"RESULTS": "results/loadtest"}, "choose": {"RESULTS": "results/choose"},
}  # fmt: skip


def is_checkout(home: Path) -> bool:
    """Whether the code is that of the folder ``home``."""
    return home.resolve() == CODE


def defaults(verb: str, home: Path) -> dict[str, str]:
    """The places that a verb gets where none are given: those of ``home``, unless the code has them itself."""
    if is_checkout(home):
        return {}
    found = {name: str(home / path) for name, path in {**PLACES, **RESULTS.get(verb, {})}.items()}
    config = home / "config.properties"
    # Reports name the commit of the code. That of a repository which happens to lie around it would be a wrong one.
    return found | ({"CONFIG": str(config)} if config.exists() else {}) | {"GIT_CEILING_DIRECTORIES": str(CODE.parent)}


def caches(home: Path) -> list[Path]:
    """What ``clean`` removes beside what the server's own module does."""
    return [home / name for name in ((".cache", "site") if is_checkout(home) else (CACHE,))]


def version() -> str:
    """The version in pyproject.toml, which the installed package has in its metadata."""
    project = CODE / "pyproject.toml"
    found = re.search(r'^version = "(.+)"$', project.read_text(), re.MULTILINE) if project.exists() else None
    return found[1] if found else installed("torchscript-inference")
