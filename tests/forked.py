"""Dry runs as the build's own, in a fork of one process that has torch and transformers loaded.

A worker needs seconds to import them, each time the same. The tests' stores are built by ``make archive``, whose dry
runs start from nothing; what is tested beyond that is the archive, and it is loaded here as there.
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
    """The process that forks, as long as the tests run."""
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
    """Dry runs of this process fork meanwhile."""
    stand_in = SimpleNamespace(run=_run, TimeoutExpired=subprocess.TimeoutExpired)
    with mock.patch.object(dry_runs, "subprocess", stand_in):
        yield


def dry_run(*arguments: Any) -> dry_runs.Answers:
    """export.dry_run.dry_run in a fork."""
    with forking():
        return from_nothing(*arguments)
