"""A user who has installed ``tsi`` and works in another folder."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def call(there: Path, home: Path, *words: str, program: str = "tsi") -> subprocess.CompletedProcess[str]:
    """Runs a program of an environment's ``bin`` in the folder ``home``, with nothing of the tests' own environment."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR", "LANG") if key in os.environ}
    return subprocess.run(
        [str(there / program), *words], cwd=home, env=kept | {"OMP_WAIT_POLICY": "PASSIVE"}, capture_output=True,
        text=True, timeout=300,
    )  # fmt: skip
