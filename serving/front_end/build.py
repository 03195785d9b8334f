"""Makes front_end.jar from the sources in java/, with javac 17: ``python -m serving.front_end.build``.

The jar is committed, since a machine that serves has a Java runtime and no compiler. Every javac of that version gives
the same bytes: the entries are sorted, uncompressed and without dates.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from serving.errors import ServingError
from serving.front_end import OURS, jar

RELEASE = 17
SOURCES = Path(__file__).with_name("java")
JDKS = Path("/usr/lib/jvm")


def compiler() -> str:
    """A javac of that version, on PATH or where Linux distributions put JDKs. Raises ServingError."""
    installed = sorted(str(path) for path in JDKS.glob("*/bin/javac"))
    for program in filter(None, [shutil.which("javac"), *installed]):
        said = subprocess.run([program, "-version"], capture_output=True, text=True)
        if re.match(rf"javac {RELEASE}\b", said.stdout + said.stderr):
            return program
    raise ServingError(f"No javac {RELEASE} is on PATH or under {JDKS}; install a JDK {RELEASE}.")


def build(target: Path) -> None:
    """Compiles the sources into a jar at ``target``. Raises ServingError, with the compiler's message where there is
    one."""
    sources = sorted(str(path.relative_to(SOURCES)) for path in SOURCES.rglob("*.java"))
    with tempfile.TemporaryDirectory() as folder:
        options = ["--release", str(RELEASE), "-proc:none", "-encoding", "UTF-8", "-cp", str(jar()), "-d", folder]
        done = subprocess.run([compiler(), *options, *sources], cwd=SOURCES, capture_output=True, text=True)
        if done.returncode:
            raise ServingError(f"The front end does not compile:\n{done.stderr}")
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as made:
            for path in sorted(Path(folder).rglob("*.class")):
                entry = zipfile.ZipInfo(str(path.relative_to(folder)))
                entry.external_attr = 0o644 << 16
                made.writestr(entry, path.read_bytes())


if __name__ == "__main__":
    try:
        build(OURS)
    except ServingError as error:
        sys.exit(str(error))
    print(f"{OURS} has {OURS.stat().st_size} bytes")
