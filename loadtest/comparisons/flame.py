"""Flame graphs of a worker under load, by py-spy. Knows how to run it, and nothing of loads."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gevent

from loadtest.errors import LoadTestError
from loadtest.measure.servers import Server

RATE = 200  # samples per second
MISSING = "py-spy is not installed, and FLAMES needs it; run: .venv/bin/pip install py-spy"


def py_spy() -> str:
    """The program, beside this Python or on PATH. Raises LoadTestError."""
    found = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if not found:
        raise LoadTestError(MISSING)
    return found


@contextmanager
def recording(server: Server, archive: str, svg: Path, after_s: float, seconds: float) -> Iterator[None]:
    """Samples the archive's first worker for ``seconds``, from ``after_s`` on, and writes a flame graph to ``svg``.

    Leaves when it is written. Raises LoadTestError where py-spy fails.
    """
    assert server.client is not None
    pid = server.client.workers(archive)[0]["pid"]
    svg.parent.mkdir(parents=True, exist_ok=True)
    command = [py_spy(), "record", "--pid", str(pid), "--duration", f"{max(1, round(seconds))}", "--rate", str(RATE),
               "--format", "flamegraph", "--output", str(svg)]  # fmt: skip
    sampling = gevent.spawn_later(after_s, subprocess.run, command, capture_output=True, text=True)
    try:
        yield
        done = sampling.get()
    finally:
        sampling.kill()
    if done.returncode or not svg.exists():
        raise LoadTestError(f"py-spy failed: {(done.stderr or done.stdout).strip()[-300:]}")
