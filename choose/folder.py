"""The folder of a search: one per question, so that the same command finds it again. One process at a time holds it.

Two questions are the same if objective, search space, archives' bytes and machine are the same. BUDGET, TRIALS and
HOURLY_COST are not part of the question, since they only change the length of the search and the content of the page.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from choose.errors import ChooseError
from choose.request import Request
from choose.space import Space

RESULTS = Path(os.environ.get("RESULTS") or Path(__file__).with_name("results")).resolve()


def of(request: Request, space: Space, machine: Mapping[str, Any]) -> Path:
    """The folder of this question on this machine."""
    facts = {
        "asked": {**request.stated(), "budget_s": None, "hourly_cost": None, "seed": request.seed,
                  "window_s": request.window_s},
        "space": space.stated(),
        "default": space.default.settings,
        "archives": {name: each.sha256 for name, each in space.candidates.items()},
        "machine": machine,
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
    return RESULTS / f"{space.model}-{request.objective}-{digest}"


def require_writable() -> None:
    """Raises ChooseError if no folder can be made in RESULTS. Called before archives are built."""
    try:
        RESULTS.mkdir(parents=True, exist_ok=True)
        reason = "" if os.access(RESULTS, os.W_OK | os.X_OK) else "Permission denied"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise ChooseError(f"RESULTS={RESULTS} cannot be written ({reason}); name another folder.")


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Locks the folder. The kernel releases the lock when the process ends. Raises ChooseError if another process holds
    it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ChooseError(f"Another make choose searches in {folder}; wait for it, or end it.") from None
        yield
