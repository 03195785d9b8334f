"""Places for ``make doctor`` to check: one without faults, and functions that add a fault."""

import dataclasses
import subprocess
import zipfile

from serving.doctor.finding import Place
from serving.owned import MARKER
from serving.state import RunDirectory, State
from serving.store import publish
from tests.conftest import ROOT, write_config

MANIFEST = '{"model": {"modelName": "other", "modelVersion": "1.0", "handler": "x.py"}}'
GONE = 2**22 + 1  # above the largest pid that Linux gives


def sound(tmp_path):
    """A place without faults: one small archive, free ports, an empty run folder, no control groups, no GPU."""
    for name in ("store", "run", "tmp", "cgroup", "devices", "proc"):
        (tmp_path / name).mkdir(mode=0o700)
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 8000000 kB\nMemAvailable: 7000000 kB\n")
    place = Place(
        store=tmp_path / "store",
        run=tmp_path / "run",
        config=write_config(tmp_path / "config.properties"),
        models=tmp_path / "models.toml",
        temp=tmp_path / "tmp",
        proc=tmp_path / "proc",
        cgroup=tmp_path / "cgroup",
        devices=tmp_path / "devices",
        cuda_driver=str(tmp_path / "none.so"),
    )
    add_archive(place, "a-eager")
    return place


def add_archive(place, name, device="cpu", hole=0):
    """Publishes an archive for ``device``; ``hole`` makes it that large without using the disk."""
    built = place.store / "new"
    with built.open("wb") as empty:
        empty.truncate(hole)
    with zipfile.ZipFile(built, "a") as archive:
        archive.writestr("model-config.yaml", (
            f"minWorkers: 1\ndeviceType: {device}\n"
            f"archive: {{runtime: eager, model: {name.rpartition('-')[0]}, variant: {name.rpartition('-')[2]}}}\n"
        ))  # fmt: skip
    if hole:
        built.rename(place.store / f"{name}.mar")
    else:
        publish(built, place.store / f"{name}.mar")


def distribution(folder, name, version, *needs, files):
    """The metadata that pip leaves of an installed package."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    required = "".join(f"Requires-Dist: {need}\n" for need in needs)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{required}")
    (folder / name).mkdir()
    for each, text in files.items():
        (folder / name / f"{each}.py").write_text(text)


def java_installation(folder, stated, reported):
    (folder / "bin").mkdir(parents=True)
    (folder / "release").write_text(f'JAVA_VERSION="{stated}"\n')
    (folder / "bin" / "java").write_text(f"#!/bin/sh\necho 'openjdk version \"{reported}\"' >&2\n")
    (folder / "bin" / "java").chmod(0o755)
    return folder


def changed(place, **fields):
    return dataclasses.replace(place, **fields)


def properties(place, **values):
    write_config(place.config, **values)
    return place


def touched(place, path, text="x", mode=0o600):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return place


def server_record(place, pid):
    RunDirectory(place.run).write(State("/gone/torchserve-00000000", "", pid=pid))
    return place


def wanting(place, requires):
    """A checkout whose pyproject.toml requires another Python."""
    text = (ROOT / "pyproject.toml").read_text().replace('requires-python = ">=3.10,<3.13"', requires)
    return changed(touched(place, place.run / "pyproject.toml", text), root=place.run)


def packages(place, monkeypatch, *found, files=None):
    folder = place.temp / "packages"
    for name, version, *needs in found:
        distribution(folder, name, version, *needs, files=files or {})
    monkeypatch.syspath_prepend(str(folder))
    return place


def java_home(place, monkeypatch, stated, reported):
    monkeypatch.setenv("JAVA_HOME", str(java_installation(place.temp / "java", stated, reported)))
    return place


def group(place, files, path="/a/b"):
    """Control groups: ``files`` below the mount, and the process in ``path`` of every tree."""
    for name, text in files.items():
        touched(place, place.cgroup / name, text)
    tree = f"0::{path}\n4:memory:{path}\n3:cpu,cpuacct:{path}\n8:pids:{path}\n"
    return touched(place, place.proc / "self" / "cgroup", tree)


def driver(place, tmp, version, count, init=0):
    """A small libcuda with the three functions that the check calls."""
    source = tmp / "cuda.c"
    source.write_text(
        f"int cuInit(unsigned f) {{ return {init}; }}\n"
        f"int cuDriverGetVersion(int *v) {{ *v = {version}; return 0; }}\n"
        f"int cuDeviceGetCount(int *c) {{ *c = {count}; return 0; }}\n"
    )
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp / "cuda.so", source], check=True)
    return changed(place, cuda_driver=str(tmp / "cuda.so"))


def card(place):
    (place.devices / "0000:01:00.0").mkdir()
    (place.devices / "0000:01:00.0" / "vendor").write_text("0x10de\n")
    (place.devices / "0000:01:00.0" / "class").write_text("0x030200\n")
    return place


def without_haproxy(place, monkeypatch):
    monkeypatch.setattr("serving.replicas.program.PLACES", str(place.temp))
    monkeypatch.setenv("PATH", str(place.temp))
    return place


def for_a_gpu(place):
    add_archive(place, "a-graph", device="gpu")
    return place


def foreign(place):
    """An archive with the manifest of torch-model-archiver."""
    with zipfile.ZipFile(place.store / "other.mar", "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", MANIFEST)
    return place


def flipped(place):
    archive = place.store / "a-eager.mar"
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)
    return place


def emptied(place):
    for path in place.store.iterdir():
        path.unlink()
    return place


def opened(place, path, mode):
    path.chmod(mode)
    return place


def stale_folder(place, pid):
    folder = place.temp / "torchserve-00000000"
    touched(place, folder / MARKER)
    return touched(place, folder / ".model_server.pid", str(pid))


def huge(place):
    add_archive(place, "b-eager", hole=8 << 40)
    return place
