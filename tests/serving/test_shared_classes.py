"""What starts keep for the next ones: the corrected classes, and from the second start on an image that Java maps."""

import fcntl
import os
import subprocess
import zipfile

import pytest

from serving import front_end
from serving.environment import java_home
from serving.front_end import shared as sharing
from serving.front_end.shared import Shared, class_path, shared


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(sharing, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def loaded(kept):
    """Where Java has TorchServe's main class from: the image, or a jar."""
    done = subprocess.run(
        [f"{java_home()}/bin/java", f"-XX:SharedArchiveFile={kept.image}", "-Xlog:class+load",
         "-cp", class_path(kept.classes), "org.pytorch.serve.ModelServer", "--help"], capture_output=True, text=True,
    )  # fmt: skip
    (line,) = [each for each in done.stdout.splitlines() if " org.pytorch.serve.ModelServer source: " in each]
    return line.partition("source: ")[2]


def test_the_second_start_has_an_image_that_java_takes_the_corrected_classes_from(tmp_path):
    first = shared(java_home())
    assert first.image is None and front_end.correct(tmp_path / "run")
    with zipfile.ZipFile(first.classes) as kept:
        assert all(kept.read(name) == (tmp_path / "run" / name).read_bytes() for name in kept.namelist())
        assert {front_end.REPLACED, *front_end.CORRECTIONS} < set(kept.namelist())
    second = shared(java_home())
    assert second == Shared(first.classes, first.classes.with_suffix(".jsa")) == shared(java_home())
    assert loaded(second) == "shared objects file"
    os.utime(second.classes)  # another jar, as far as Java can see
    assert str(second.classes) in loaded(second)


def test_a_start_beside_one_that_makes_the_image_does_without():
    first = shared(java_home())
    with (first.classes.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert shared(java_home()) == first
    assert not first.classes.with_suffix(".jsa").exists()


def test_a_java_that_makes_no_image_starts_without(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin" / "java").chmod(0o755)
    assert [shared(str(tmp_path)).image for _ in range(2)] == [None, None]


def test_a_damaged_jar_is_made_again():
    first = shared(java_home())
    whole = first.classes.read_bytes()
    for damaged in (whole[:-1000], whole.replace(b"HttpJob", b"HttpBoj", 1)):
        first.classes.write_bytes(damaged)
        assert shared(java_home()) == first and first.classes.read_bytes() != damaged
        with zipfile.ZipFile(first.classes) as kept:
            assert kept.testzip() is None


def test_another_java_or_other_corrections_share_nothing(tmp_path, monkeypatch):
    (tmp_path / "release").write_text('JAVA_VERSION="21"\n')
    folders = {shared(home).classes.parent for home in (java_home(), str(tmp_path))}
    (tmp_path / "release").write_text('JAVA_VERSION="22"\n')
    folders.add(shared(str(tmp_path)).classes.parent)
    name, exchanged = next(iter(front_end.CORRECTIONS.items()))
    monkeypatch.setitem(front_end.CORRECTIONS, name, {key: f"{value}x" for key, value in exchanged.items()})
    folders.add(shared(str(tmp_path)).classes.parent)
    assert len(folders) == 4


def test_nothing_is_kept_where_nothing_can_be_written_or_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "cache", tmp_path / "a:b"):
        monkeypatch.setattr(sharing, "CACHE", place)
        assert shared(java_home()) is None


def test_of_another_torchserve_nothing_is_kept(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "other.jar", "w") as other:
        other.writestr(front_end.REPLACED, b"\xca\xfe\xba\xbe something else")
    for module in (front_end, sharing):
        monkeypatch.setattr(module, "jar", lambda: tmp_path / "other.jar")
    assert shared(java_home()) is None
