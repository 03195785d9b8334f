"""Runs a verb in a separate process, and passes signals on to it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tsi import places
from tsi.table import Verb

LAUNCH = Path(__file__).with_name("launch.py")


def run(verb: Verb, home: Path, environment: Mapping[str, str]) -> int:
    """The exit status of the verb, with ``home`` as its folder; 128 + the signal's number if a signal ended it."""
    command = [sys.executable, str(LAUNCH), *verb.command.split()]
    child = subprocess.Popen(command, cwd=home, env={**places.defaults(verb.name, home), **environment})
    _pass_on(child)
    status = child.wait()
    if verb.name == "clean" and status == 0:
        for folder in places.caches(home):
            shutil.rmtree(folder, ignore_errors=True)
    return status if status >= 0 else 128 - status


def _pass_on(child: subprocess.Popen[bytes]) -> None:
    """The terminal sends Ctrl-C to both processes; the child decides when to end. The handlers do nothing. An ignored
    signal would be inherited by the child's own children."""

    def send(number: int, frame: Any) -> None:
        child.send_signal(number)

    signal.signal(signal.SIGINT, lambda number, frame: None)
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, send)
