"""Runs verbs and dry runs in forks of a process that has their libraries loaded, instead of new processes.

Tests run hundreds of verbs, and a new process needs most of a second to import httpx and what it brings; one that
builds needs 4 to 7 s for torch and transformers, and each dry run again. What a fork has loaded is of other projects:
the modules of the checkout are read anew each time. Verbs that are not among FORKED, and those whose environment
concerns the interpreter or a library itself, run in a new process, as do all that ``make`` starts.
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
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SERVER = Path(__file__).with_name("verbs_child.py")
FORKED = ("serving", "rollout", "openapi", "export.list_models")  # the load test's libraries change Python itself
BUILDS = ("export",)
OF_THE_INTERPRETER = ("COVERAGE", "LANG", "LC_", "LD_", "MALLOC", "OMP_", "OPENBLAS", "PYTHON", "TZ")
# What torch, transformers and huggingface_hub read when they are imported. They set others themselves (KMP_,
# TORCHINDUCTOR_CACHE_DIR).
OF_THE_LIBRARIES = ("CUDA", "HF_", "HOME", "HUGGING", "MKL_", "TORCH_", "TRANSFORMERS", "XDG_")
LIBRARIES = ("httpx2", "importlib.metadata", "jinja2", "numpy", "psutil", "tomlkit", "yaml")
# What export/isolated.py loads before builds, and what TorchServe's worker imports.
LIBRARIES_OF_BUILDS = (
    "torch", "torchvision", "transformers.models.bert.modeling_bert", "sentence_transformers", "sklearn.datasets",
    "ts.model_loader", "ts.service",
)  # fmt: skip
ADDRESS = "TESTS_FORK_BUILDS_AT"  # in a fork: the socket of the process that forks builds


def forks(command: tuple[str, ...], environment: Mapping[str, str]) -> bool:
    """Whether a fork does what a new process would."""
    if command[0] in BUILDS:
        return _of(OF_THE_INTERPRETER + OF_THE_LIBRARIES, environment) == _builder().variables
    known = any(f"{command[0]}.".startswith(f"{name}.") for name in FORKED)
    return known and _of(OF_THE_INTERPRETER, environment) == _server().variables


def run(command: Sequence[str], environment: Mapping[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
    """``subprocess.run`` of ``python -m command`` with its output captured as text. Raises TimeoutExpired."""
    server = _builder() if command[0] in BUILDS else _server()
    return _run(server.address, command, ROOT, environment, timeout)


def run_script(
    command: Sequence[str], cwd: Path, env: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """The same of ``python command``, a script, with the libraries of builds loaded."""
    return _run(os.environ.get(ADDRESS) or _builder().address, command, cwd, env, timeout)


def _run(
    address: str, command: Sequence[str], cwd: Path, environment: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        outputs = [_Output(), _Output()]
        asked = json.dumps({"command": list(command), "environment": dict(environment), "cwd": str(cwd)}).encode()
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
    """A process that has ``libraries`` loaded and forks, as long as the tests run. ``more`` is put into its
    environment."""

    def __init__(self, libraries: Sequence[str], variables: Sequence[str], **more: str) -> None:
        self.variables = _of(variables, os.environ)
        self.address = str(Path(tempfile.mkdtemp(prefix="verbs-"), "socket"))
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.address)
            listener.listen(64)
            self._process = subprocess.Popen(
                [sys.executable, str(SERVER), str(listener.fileno()), *libraries], cwd=ROOT,
                env={**os.environ, **more}, stdin=subprocess.PIPE, pass_fds=[listener.fileno()],
            )  # fmt: skip
        atexit.register(self.close)

    def close(self) -> None:
        """Ends it."""
        self._process.stdin.close()
        self._process.wait(20)
        Path(self.address).unlink()
        Path(self.address).parent.rmdir()


@cache
def _server() -> _Server:
    return _Server(LIBRARIES, OF_THE_INTERPRETER)


@cache
def _builder() -> _Server:
    # A build runs with this hash seed (export/isolated.py), which an interpreter reads when it starts.
    return _Server(LIBRARIES_OF_BUILDS, OF_THE_INTERPRETER + OF_THE_LIBRARIES, PYTHONHASHSEED="0")


def _of(prefixes: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(tuple(prefixes))}
