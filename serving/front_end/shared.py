"""Keeps the corrected classes, and an image of all classes that a start loads, for the next starts of this checkout.

To find TorchServe's classes in its jar and to change their names takes half a second; to read and check 5,000 classes
takes Java more than one. So the corrected classes are kept as a jar, and from the second start on an image of the
loaded classes beside it (class data sharing), which Java maps into memory. To make the image takes some seconds, which
a checkout that starts one server would not get back. Java checks that an image fits, and does without one that does
not.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
import subprocess
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from serving.environment import ROOT
from serving.front_end import CORRECTIONS, OURS, corrected, jar

CACHE = ROOT / ".cache" / "front_end"
# The names of the classes that a warm server of ``null`` has loaded. A start with -XX:DumpLoadedClassList=FILE in
# vmargs writes them; the lines of proxies, which have other names each time, are left out.
LOADED = Path(__file__).with_name("loaded.txt.gz")
IMAGE_TIMEOUT_S = 120


@dataclass(frozen=True)
class Shared:
    """``classes`` is the jar with the corrected classes, ``image`` the file with all that are loaded, where there is
    one."""

    classes: Path
    image: Path | None = None


def shared(java_home: str) -> Shared | None:
    """What earlier starts with this Java have left, completed by what this one can add. None where nothing can be kept,
    or where TorchServe is another version."""
    folder = CACHE / _key(java_home)
    if os.pathsep in str(folder):  # it would end there on Java's class path
        return None
    found = Shared(folder / "classes.jar", folder / "classes.jsa")
    if _is_whole(found.classes):
        return found if _imaged(found, java_home) else Shared(found.classes)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Shared(found.classes) if _packed(found.classes) else None
    except OSError:  # the checkout is on a read-only or a full disk
        return None


def _key(java_home: str) -> str:
    """Changes with TorchServe's jar, as Java judges it, with the corrections and with Java."""
    found, release = jar().stat(), Path(java_home, "release")
    facts = (str(jar()), found.st_size, found.st_mtime_ns, java_home, release.read_bytes() if release.exists() else b"")
    ours = hashlib.sha256(OURS.read_bytes() + LOADED.read_bytes()).hexdigest()
    return hashlib.sha256(repr((facts, ours, CORRECTIONS)).encode()).hexdigest()[:16]


def _is_whole(path: Path) -> bool:
    """Without a class of it, Java would take TorchServe's own, which has no limits."""
    try:
        with zipfile.ZipFile(path) as kept:
            return kept.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False


def _packed(target: Path) -> bool:
    """Writes the jar; False where TorchServe is another version."""
    found = corrected()
    if found is None:
        return False
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".classes-", delete=False) as partial:
        with zipfile.ZipFile(partial, "w") as made, zipfile.ZipFile(OURS) as ours:
            for name, code in {**{name: ours.read(name) for name in ours.namelist()}, **found}.items():
                made.writestr(name, code)
    Path(partial.name).chmod(0o644)  # the next start may be another user's
    Path(partial.name).replace(target)
    return True


def _imaged(wanted: Shared, java_home: str) -> bool:
    """Makes the image unless it exists; False where it cannot be made, or another start is at it."""
    assert wanted.image is not None
    if wanted.image.exists():
        return True
    try:
        with (wanted.image.parent / ".lock").open("w") as lock, tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            names, made = Path(scratch, "loaded.txt"), Path(scratch, "classes.jsa")
            names.write_bytes(gzip.decompress(LOADED.read_bytes()))
            subprocess.run(
                [f"{java_home}/bin/java", "-Xshare:dump", "-Xlog:disable", f"-XX:SharedClassListFile={names}",
                 f"-XX:SharedArchiveFile={made}", "-cp", class_path(wanted.classes)],
                check=True, timeout=IMAGE_TIMEOUT_S, stdin=subprocess.DEVNULL, capture_output=True,
            )  # fmt: skip
            made.replace(wanted.image)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def class_path(classes: Path) -> str:
    """Java's class path: the corrected classes first."""
    return f"{classes}{os.pathsep}{jar()}"
