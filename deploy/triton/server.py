"""``python -m deploy.triton.server REPOSITORY [options of tritonserver]``: starts the Triton of PyPI's nvidia-pytriton
on this machine, on loopback unless an option says otherwise. It needs no Docker.

It runs in a separate environment, ``.cache/triton``, which is made once: tritonserver and a numpy 1 (server.txt), and
then this project's packages for the handlers.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from serving.environment import worker_environment
from serving.errors import ServingError

PINS = Path(__file__).with_name("server.txt")
HOME = Path(__file__).resolve().parents[2] / ".cache" / "triton"
LOOPBACK = ("--http-address=127.0.0.1", "--grpc-address=127.0.0.1")
INSTALL_TIMEOUT_S = 300
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
STUB = "triton_python_backend_stub"


def command(repository: Path, options: list[str]) -> list[str]:
    """The command line of tritonserver."""
    root = _installed()
    given = [str(root / "bin" / "tritonserver"), f"--model-repository={repository}"]
    return [*given, f"--backend-directory={root / 'backends'}", *LOOPBACK, *options]


def environment() -> dict[str, str]:
    """The environment of tritonserver: its Python is the first on PATH, and the library of that Python is found."""
    found = worker_environment()
    libraries = filter(None, (sysconfig.get_config_var("LIBDIR"), found.get("LD_LIBRARY_PATH")))
    return {**found, "PATH": f"{HOME / 'bin'}:{found.get('PATH', '')}", "LD_LIBRARY_PATH": ":".join(libraries)}


def install() -> None:
    """Makes the environment where it is missing or has other pins. Raises ServingError."""
    stamp, wanted = HOME / "made.txt", f"{sys.version}\n{_own_packages()}\n{PINS.read_text()}"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    _require_machine()
    print(f"Installing tritonserver into {HOME} (75 MB to download)", file=sys.stderr)
    shutil.rmtree(HOME, ignore_errors=True)
    _run([sys.executable, "-m", "venv", "--without-pip", str(HOME)])
    pip = [sys.executable, "-m", "pip", "--python", str(HOME / "bin" / "python"), "--disable-pip-version-check"]
    _run([*pip, "install", "-q", "--no-input", "--only-binary=:all:", "--no-deps", "--require-hashes", "-r", str(PINS)])
    (_site() / "project.pth").write_text(f"{_own_packages()}\n")
    stub = _installed() / "backends" / "python" / STUB
    stub.symlink_to(Path("../../python_backend_stubs", PYTHON, STUB))  # tritonserver looks for the stub there
    stamp.write_text(wanted)


def _require_machine() -> None:
    """Raises ServingError where this tritonserver cannot run."""
    name, version = platform.libc_ver()
    fits = name == "glibc" and tuple(map(int, version.split("."))) >= (2, 35)
    if sys.platform != "linux" or platform.machine() != "x86_64" or not fits:
        raise ServingError(
            "PyPI has tritonserver for Linux on x86_64 with glibc 2.35 or later; here, use NVIDIA's image: "
            "docs/leaving-torchserve.md"
        )
    library = f"libpython{PYTHON}.so.1.0"
    for place in (Path(str(sysconfig.get_config_var("LIBDIR"))) / library, Path(library)):
        try:
            ctypes.CDLL(str(place))
            return
        except OSError:
            continue
    raise ServingError(
        f"Triton's Python backend needs libpython{PYTHON}.so.1.0, which this Python was built without; on Debian and "
        f"Ubuntu, install the package libpython{PYTHON}"
    )


def _run(words: list[str]) -> None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise ServingError(f"tritonserver was not installed within {INSTALL_TIMEOUT_S} s; try again.") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr.strip()]
        raise ServingError(f"tritonserver cannot be installed: {lines[-1][:200]}")


def _site() -> Path:
    return Path(sysconfig.get_path("purelib", "venv", {"base": str(HOME), "platbase": str(HOME)}))


def _own_packages() -> str:
    return sysconfig.get_path("purelib")


def _installed() -> Path:
    return _site() / "pytriton" / "tritonserver"


def main() -> int:
    """Becomes tritonserver."""
    if len(sys.argv) < 2 or not Path(sys.argv[1]).is_dir():
        asked = "Name a model repository, which make triton writes: python -m deploy.triton.server triton_repository"
        print(asked, file=sys.stderr)
        return 2
    try:
        install()
    except ServingError as error:
        print(error, file=sys.stderr)
        return 1
    words = command(Path(sys.argv[1]).absolute(), sys.argv[2:])
    os.execve(words[0], words, environment())


if __name__ == "__main__":
    sys.exit(main())
