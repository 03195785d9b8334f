"""Runs dry runs in forks of one process that has torch and transformers loaded, instead of new processes.

A new worker needs seconds to import them. ``make archive``, which builds the tests' stores, still starts each dry run
as a new process. The other tests check only the archive, which is loaded the same way in a fork.
"""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from export import dry_run as dry_runs
from export.dry_run import dry_run as from_nothing
from serving.environment import worker_environment

SERVER = Path(__file__).with_name("forked_child.py")


@cache
def _server() -> subprocess.Popen[str]:
    """The process that forks. It runs as long as the tests."""
    command = [sys.executable, str(SERVER)]
    server = subprocess.Popen(
        command, env=worker_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(server.stdin.close)
    return server


def _run(command: list[str], cwd: Path, **_: Any) -> subprocess.CompletedProcess[str]:
    """``subprocess.run`` of dry_run_child.py."""
    printed, server = Path(command[-1], "printed"), _server()
    server.stdin.write(json.dumps({"arguments": command[2:], "cwd": str(cwd), "printed": str(printed)}) + "\n")
    server.stdin.flush()
    return subprocess.CompletedProcess(command, int(server.stdout.readline()), printed.read_text(), "")


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
