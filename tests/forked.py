"""Runs dry runs in forks of one process that has torch and transformers loaded, instead of new processes (verbs.py).

A new worker needs seconds to import them. The archive is loaded the same way in a fork.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from export import dry_run as dry_runs
from export.dry_run import dry_run as from_nothing
from tests import verbs


def _run(
    command: list[str], cwd: Path, env: Mapping[str, str], timeout: float, **_: Any
) -> subprocess.CompletedProcess[str]:
    """``subprocess.run`` of dry_run_child.py."""
    return verbs.run_script(command[1:], cwd, env, timeout)


@contextmanager
def forking() -> Iterator[None]:
    """Within the block, dry runs of this process are forks."""
    stand_in = SimpleNamespace(run=_run, TimeoutExpired=subprocess.TimeoutExpired)
    with mock.patch.object(dry_runs, "subprocess", stand_in):
        yield


def dry_run(*arguments: Any) -> dry_runs.Answers:
    """export.dry_run.dry_run in a fork."""
    with forking():
        return from_nothing(*arguments)
