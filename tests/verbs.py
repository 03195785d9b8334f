"""Runs verbs in forks of one process that has their libraries loaded, instead of new processes.

Tests run hundreds of verbs, and a new process needs most of a second to import httpx and what it brings. What a fork
has loaded is of other projects: the modules of the checkout are read anew each time. Verbs that are not among FORKED
and those whose environment concerns the interpreter itself run in a new process, as do all that ``make`` starts.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path

SERVER = Path(__file__).with_name("verbs_child.py")
FORKED = ("serving", "rollout", "openapi", "export.list_models")  # the load test's libraries change Python itself
OF_THE_INTERPRETER = ("COVERAGE", "LANG", "LC_", "LD_", "MALLOC", "OMP_", "OPENBLAS", "PYTHON", "TZ")


def forks(command: tuple[str, ...], environment: Mapping[str, str]) -> bool:
    """Whether a fork does what a new process would."""
    known = any(f"{command[0]}.".startswith(f"{name}.") for name in FORKED)
    return known and _of_the_interpreter(environment) == _server().variables


def run(command: tuple[str, ...], environment: Mapping[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
    """``subprocess.run`` of ``python -m command`` with its output captured as text. Raises TimeoutExpired."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(_server().address)
        outputs = [_Output(), _Output()]
        asked = json.dumps({"command": command, "environment": dict(environment)}).encode()
        socket.send_fds(connection, [asked], [each.written for each in outputs])
        texts = connection.makefile()
        pid = int(texts.readline())
        if any(each.lasts(timeout) for each in outputs):
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(command, timeout)
        return subprocess.CompletedProcess(command, int(texts.readline()), *(each.text for each in outputs))


class _Output:
    """What a process and its children print: read until the last of them has closed it."""

    def __init__(self) -> None:
        read, self.written = os.pipe()
        self.text = ""
        self._reader = threading.Thread(target=self._read, args=(read,), daemon=True)
        self._reader.start()

    def _read(self, read: int) -> None:
        with open(read) as printed:
            self.text = printed.read()

    def lasts(self, seconds: float) -> bool:
        """Whether it is still printed to after so long; this process prints nothing to it."""
        os.close(self.written)
        self._reader.join(seconds)
        return self._reader.is_alive()


class _Server:
    """The process that forks, as long as the tests run."""

    def __init__(self) -> None:
        self.variables = _of_the_interpreter(os.environ)
        self.address = str(Path(tempfile.mkdtemp(prefix="verbs-"), "socket"))
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.address)
            listener.listen(64)
            self._process = subprocess.Popen(
                [sys.executable, str(SERVER), str(listener.fileno())], cwd=SERVER.parent.parent,
                stdin=subprocess.PIPE, pass_fds=[listener.fileno()],
            )  # fmt: skip
        atexit.register(self.close)

    def close(self) -> None:
        """Ends it."""
        self._process.stdin.close()
        self._process.wait(10)
        Path(self.address).unlink()
        Path(self.address).parent.rmdir()


@cache
def _server() -> _Server:
    return _Server()


def _of_the_interpreter(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(OF_THE_INTERPRETER)}
