"""The container image without a container engine: the files that deploy/Dockerfile's COPY lines copy, run as its last
stage runs them.

Mount, process and network namespaces stand in for the container: a root file system that is mounted read-only, a tmpfs
on /tmp, the image's user, no capabilities but those of that user, and the entry point as process 1. The packages come
from this Python instead of the image's pip line, and RUN lines that install, build or add a user are left out.
"""

import fnmatch
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import psutil

from tests.conftest import ROOT

DOCKERFILE = ROOT / "deploy" / "Dockerfile"
SYSTEM = ("bin", "etc", "lib", "lib64", "sbin", "usr")


def instructions(stage):
    """(name, text) of the lines of the first (0) or last (-1) stage."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.split(None, 1) for line in text.splitlines() if line.strip()]
    starts = [number for number, line in enumerate(lines) if line[0] == "FROM"]
    return [tuple(line) for line in lines[starts[stage] : [*starts, len(lines)][starts.index(starts[stage]) + 1]]]


def words(name, stage=-1):
    """The arguments of the instruction, which occurs once: exec form as a list, others split as a shell does."""
    text = next(text for each, text in instructions(stage) if each == name)
    return [part.strip('[",]') for part in shlex.split(text)]


def environment():
    """The last stage's ENV, with PATH spelt out."""
    pairs = dict(pair.split("=", 1) for name, text in instructions(-1) if name == "ENV" for pair in shlex.split(text))
    return {**pairs, "PATH": pairs["PATH"].replace("$PATH", "/usr/local/bin:/usr/bin:/bin")}


def in_context(path):
    """Whether .dockerignore lets a path of the checkout into the build: the last matching line decides."""
    kept = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.lstrip("!")
        parents = [path, *path.parents]
        if line and not line.startswith("#") and any(_matches(each, pattern) for each in parents):
            kept = line.startswith("!")
    return kept


def _matches(path, pattern):
    if pattern.startswith("**/"):
        return path.name == pattern[3:]
    wanted = pattern.split("/")  # a * matches within one folder
    return len(wanted) == len(path.parts) and all(map(fnmatch.fnmatch, path.parts, wanted))


def build(folder):
    """The first stage's /app as ``folder``: its COPY lines, and the RUN line that changes the settings."""
    for name, text in instructions(0):
        if name == "COPY":
            *sources, target = text.split()
            for source in sources:
                _copy_context(ROOT / source, folder / target / ("" if (ROOT / source).is_dir() else Path(source).name))
        if name == "RUN" and text.startswith("sed "):
            subprocess.run(["sh", "-ec", text], cwd=folder, check=True)
    return folder


def _copy_context(source, target):
    files = [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file()]
    kept = [path for path in files if in_context(path.relative_to(ROOT))]
    assert kept, f".dockerignore keeps {source} out of the build"
    for path in kept:
        place = target / path.relative_to(source) if source.is_dir() else target
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)


def assemble(root, built, store):
    """The last stage as a root file system at ``root``; the first stage's /app is ``built``, its archives ``store``."""
    (root / "app").mkdir(parents=True)
    for name, text in instructions(-1):
        if name != "COPY":
            continue
        *sources, target = text.removeprefix("--from=build ").split()
        for source in sources:
            if source == "/venv":
                continue  # bound, not copied
            here = store if source == "/app/model_store" else built / Path(source).relative_to("/app")
            if here.is_dir():
                shutil.copytree(here, root / "app" / target)
            else:
                shutil.copy(here, root / "app" / target)
    return root


class Container:
    """The assembled image, running. At the end of the ``with`` block no process of it is left. ``mounts`` are folders
    of the host by their paths in the container, mounted read-only. ``variables`` are added to the image's. ``temp`` is
    a folder of the host for /tmp, instead of a new file system in memory."""

    def __init__(self, root, log, mounts=None, variables=None, temp=None):
        self._root, self._log = root, log
        self._mounts, self._variables = mounts or {}, variables or {}
        self._temp = f"--bind {shlex.quote(str(temp))}" if temp else "-t tmpfs -o mode=1777 none"

    def __enter__(self):
        for name in (*SYSTEM, "tmp", "proc", "dev", "venv", sys.base_prefix.strip("/"), *self._inside()):
            (self._root / name).mkdir(parents=True, exist_ok=True)
        command = ["unshare", "--mount", "--pid", "--fork", "--net", "--kill-child", "sh", "-ec", self._script()]
        self._parent = subprocess.Popen(command, stdout=self._log.open("w"), stderr=subprocess.STDOUT)
        return self

    def __exit__(self, *error):
        # The whole namespace ends with process 1. --kill-child no longer works once process 1 has changed its user.
        first = psutil.Process(self._parent.pid).children() if self._parent.poll() is None else []
        for each in first or [self._parent]:
            each.kill()
        self._parent.wait()

    def _script(self):
        root = shlex.quote(str(self._root))
        folders = [(f"/{name}", name) for name in SYSTEM if Path(f"/{name}").is_dir()]
        folders += [(sys.prefix, "venv"), (sys.base_prefix, sys.base_prefix.strip("/"))]  # also Python's base folder
        folders += zip(map(str, self._mounts.values()), self._inside(), strict=True)
        binds = [
            f"mount --rbind {shlex.quote(source)} {root}/{name} && mount -o remount,bind,ro {root}/{name}"
            for source, name in folders
        ]
        return "\n".join([
            "ip link set lo up",
            f"mount --bind {root} {root}",
            *binds,
            f"mount -t proc none {root}/proc; mount --rbind /dev {root}/dev",
            f"mount {self._temp} {root}/tmp",
            f"mount -o remount,bind,ro {root}",
            f"exec chroot {root} {shlex.join(self._as_user(*words('ENTRYPOINT'), *words('CMD')))}",
        ])  # fmt: skip

    def _inside(self):
        return [path.strip("/") for path in self._mounts]

    def _as_user(self, *command):
        user, group = words("USER")[0].split(":")
        variables = [f"{name}={value}" for name, value in {**environment(), **self._variables}.items()]
        return [
            "/usr/bin/setpriv", "--reuid", user, "--regid", group, "--clear-groups", "--bounding-set=-all",
            "--inh-caps=-all", "--no-new-privs",
            "/usr/bin/env", "-i", "-C", words("WORKDIR")[0], *variables, *command,
        ]  # fmt: skip

    @property
    def process(self):
        """Process 1 of the container, as the host sees it."""
        return psutil.Process(self._parent.pid).children()[0]

    def execute(self, *command):
        """Does what docker exec does."""
        inside = ["nsenter", "-t", str(self.process.pid), "-m", "-p", "-n", f"--root=/proc/{self.process.pid}/root"]
        return subprocess.run([*inside, *self._as_user(*command)], capture_output=True, text=True, timeout=60)

    def running(self):
        """Whether the entry point has not ended."""
        return self._parent.poll() is None

    def ended(self, timeout):
        """The exit status of the entry point."""
        return self._parent.wait(timeout)
