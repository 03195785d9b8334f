"""Each peer's environment: ``.cache/compare/<peer>``, made once with the pinned versions and kept.

A peer has its own packages. torch and tokenizers are links to those of this project, with the packages that torch
imports. So is numpy, if the peer has none. So all peers run the same torch, and no peer installs another gigabyte.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, distribution, distributions
from pathlib import Path

from compare.errors import CompareError
from compare.peers_table import Peer

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".cache" / "compare"
LINKED = ("torch", "tokenizers", "numpy")
ALONE = ("tokenizers",)  # its own requirements are for the hub, which is not used here
INSTALL_TIMEOUT_S = 900


def python_of(peer: Peer) -> Path:
    """The peer's interpreter. Makes its environment if it is missing or has other pins. Raises CompareError."""
    folder = HOME / peer.name
    stamp, wanted = folder / "pins.txt", "\n".join([sys.version, *map(_pin, LINKED), *peer.pins])
    if not stamp.exists() or stamp.read_text() != wanted:
        _make(peer, folder)
        stamp.write_text(wanted)
    return folder / "bin" / "python"


def _pin(name: str) -> str:
    return f"{name}=={distribution(name).version}"


def _make(peer: Peer, folder: Path) -> None:
    print(f"Installing {peer.title} into {folder.relative_to(ROOT)}: {' '.join(peer.pins[:2])}", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    _run(peer, [sys.executable, "-m", "venv", "--without-pip", str(folder)])
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "-q", "--no-input",
           "--disable-pip-version-check", "--only-binary", ":all:"]  # fmt: skip
    _run(peer, [*pip, *([] if peer.dependencies else ["--no-deps"]), *peer.pins])
    (_site(folder) / "linked.pth").write_text(f"{_links()}\n")


def _run(peer: Peer, command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise CompareError(f"{peer.title} was not installed within {INSTALL_TIMEOUT_S} s.") from None
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines or ["pip printed no message"]
        raise CompareError(f"{peer.title} cannot be installed: {errors[-1][:200]}")


def _site(folder: Path) -> Path:
    return Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))


def _links() -> Path:
    """Makes the folder of links anew, since the project's packages may have changed."""
    folder = HOME / "linked"
    folder.mkdir(parents=True, exist_ok=True)
    for name in sorted(_closure()):
        for source in _tops(name):
            link = folder / source.name
            link.unlink(missing_ok=True)
            link.symlink_to(source)
    return folder


def _closure() -> set[str]:
    """``LINKED`` and their installed dependencies."""
    found, waiting = set[str](), list(LINKED)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        found.add(name)
        if name not in ALONE:
            waiting += [re.split(r"[^\w.-]", need)[0] for need in needs if "extra ==" not in need]
    return found


def _tops(name: str) -> set[Path]:
    """The packages and modules that a distribution installed: the first parts of its files' paths."""
    whole, found = distribution(name), set()
    for file in whole.files or []:
        top = file.parts[0]
        if top not in ("..", "__pycache__") and not top.endswith((".dist-info", ".pth")):
            found.add(Path(str(whole.locate_file(top))))
    return found


def versions(peer: Peer) -> dict[str, str]:
    """The versions of the packages in a peer's environment."""
    found = distributions(path=[str(_site(HOME / peer.name))])
    return dict(sorted((each.metadata["Name"], each.version) for each in found))
