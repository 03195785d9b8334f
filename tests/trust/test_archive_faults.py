"""make archive, killed at any point or with a full disk: the store holds only whole archives with their digests."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import pytest
import yaml

from export.archive import RECORD
from serving.store import archives, intact_digest, sha256
from tests.conftest import ROOT, hub_environment, run
from tests.trust.disk import fill, small_disk
from tests.trust.figures import FULL, only_full, record
from tests.trust.place import rewrite

KILLS = 20
SEED = 5
# (model, disk, KiB left): the small BERT's build needs about five times its 6 MB, and fails one step later each time.
DISKS = [("null", "4m", 32)]
if FULL:
    DISKS += [("null", "4m", 128), *[("bert", "80m", left << 10) for left in (1, 8, 14, 20)]]


def make_archive(store, hub, models="null bert"):
    """The environment of ``make archive`` for these models; ``bert`` is the small one of the local hub folder."""
    chosen = {"MODELS": models, "VARIANTS": "eager" if "bert" in models else "", "DEVICE": "cpu"}
    return {**os.environ, **chosen, **hub_environment(hub), "MODEL_STORE": str(store)}


def outdate(archive):
    """Publishes the archive again as one of older sources: whole, but out of date. Returns its digest."""
    old, older = b'"fingerprint": "', b'"fingerprint": "0'
    rewrite(archive, lambda name, data: data.replace(old, older) if name == RECORD else data)
    return sha256(archive)


def whole(store):
    """The archives of the store; asserts that each is readable and has its digest on file."""
    for path in store.glob("*.mar"):
        assert intact_digest(path), path.name
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None, path.name
    return sorted(path.name for path in store.glob("*.mar"))


def test_publishing_killed_at_every_touch_of_the_file_system(tmp_path):
    """The store holds the old archive or the new one, whole and on file, at whatever moment SIGKILL comes."""
    moment, held = 0, []
    while not held or held[-1][0] != 0:
        moment += 1
        store = tmp_path / str(moment)
        store.mkdir()
        for content in ("old", "new"):
            with zipfile.ZipFile(store / "built", "w") as built:
                built.writestr("model-config.yaml", f"archive: {{runtime: {content}}}")
            last = "1000000" if content == "old" else str(moment)
            arguments = [str(store), str(store / "built"), "a.mar", last]
            command = [sys.executable, "-m", "tests.trust.killed_publish", *arguments]
            status = subprocess.run(command, cwd=ROOT, timeout=60).returncode
        with zipfile.ZipFile(store / "a.mar") as published:
            held.append((status, yaml.safe_load(published.read("model-config.yaml"))["archive"]["runtime"]))
        assert archives(store) == {"a": sha256(store / "a.mar")}
    record("publish_killed", moments=moment - 1, broken=0, old=sum(content == "old" for _, content in held[:-1]))
    assert [status for status, _ in held] == [-signal.SIGKILL] * (moment - 1) + [0] and held[-1][1] == "new"
    assert {content for _, content in held[:-1]} == {"old", "new"}


@only_full  # tests/export/test_archive.py does it twice in every run
def test_a_build_killed_at_random_moments(hub, tmp_path):
    """The whole process group is killed; the store is whole each time, and the next run completes and cleans up."""
    environment, moments, held = make_archive(tmp_path, hub), random.Random(SEED), []
    began = time.monotonic()
    assert run("export", **environment).returncode == 0
    took = time.monotonic() - began
    good = whole(tmp_path)
    for _ in range(KILLS):
        before = {path.name: outdate(path) for path in tmp_path.glob("*.mar")}
        process = subprocess.Popen(
            [sys.executable, "-m", "export"], cwd=ROOT, env=environment, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(moments.uniform(0, took))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert whole(tmp_path) == good
        held.append(sum(sha256(tmp_path / name) != digest for name, digest in before.items()))
    finished = run("export", **environment)
    assert finished.returncode == 0, finished.stderr
    assert whole(tmp_path) == good and list(tmp_path.glob(".build-*")) == []
    record("build_killed", kills=KILLS, seed=SEED, build_s=round(took, 1), published_before_the_kill=held, broken=0)


def copy(store, own):
    for name in ("null.mar", "null.mar.sha256"):
        shutil.copy(store / name, own)


@pytest.mark.parametrize(("model", "size", "left_kib"), DISKS)
def test_a_full_disk_leaves_the_last_good_archive(null_store, hub, tmp_path, model, size, left_kib):
    with small_disk(tmp_path / "disk", size) as disk:
        environment = make_archive(disk, hub, model)
        if model == "null":
            copy(null_store, disk)
        else:
            assert run("export", **environment).returncode == 0
        before = {path.name: outdate(path) for path in disk.glob("*.mar")}
        fill(disk, left_kib << 10)
        failed = run("export", **environment)
        assert failed.returncode == 1 and "No space left on device" in failed.stderr, failed.stdout + failed.stderr
        assert "Traceback" not in failed.stderr
        assert archives(disk) == {name.removesuffix(".mar"): digest for name, digest in before.items()}
        assert whole(disk) == sorted(before)
        (disk / "ballast").unlink()
        if FULL:
            assert run("export", **environment).returncode == 0
    record(f"build_on_a_full_disk_{model}_{left_kib}_kib_left", archives_kept=len(before), archives_lost=0)
