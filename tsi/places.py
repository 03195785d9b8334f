"""The folders of the project's code and of the user's files.

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
CACHE = ".tsi"  # not .cache, which may be a user's own folder

# The variable of each place, and its path below the current folder. In a checkout, the code has the same defaults.
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
    """The places of a verb that the user does not set: those of ``home``, unless the code has them itself."""
    if is_checkout(home):
        return {}
    found = {name: str(home / path) for name, path in {**PLACES, **RESULTS.get(verb, {})}.items()}
    config = home / "config.properties"
    # Reports name the commit of the code. The commit of a repository around an installed package would be wrong.
    return found | ({"CONFIG": str(config)} if config.exists() else {}) | {"GIT_CEILING_DIRECTORIES": str(CODE.parent)}


def caches(home: Path) -> list[Path]:
    """The folders that ``clean`` removes beside those of the server's own module."""
    return [home / name for name in ((".cache", "site") if is_checkout(home) else (CACHE,))]


def version() -> str:
    """The version in pyproject.toml, which the installed package has in its metadata."""
    project = CODE / "pyproject.toml"
    found = re.search(r'^version = "(.+)"$', project.read_text(), re.MULTILINE) if project.exists() else None
    return found[1] if found else installed("torchscript-inference")
