"""The corrected front end: it fits the installed TorchServe, another TorchServe stays uncorrected, and the jar is built
from its sources."""

import shutil
import zipfile

import pytest

from serving import front_end
from serving.errors import ServingError
from serving.front_end.build import RELEASE, build, compiler


def test_the_installed_torchserve_is_one_that_can_be_corrected(tmp_path):
    assert front_end.correct(tmp_path)
    with zipfile.ZipFile(front_end.OURS) as ours:
        assert front_end.REPLACED in ours.namelist()
        assert all((tmp_path / name).read_bytes() == ours.read(name) for name in ours.namelist())
    for name, exchanged in front_end.CORRECTIONS.items():
        code = (tmp_path / name).read_bytes()
        assert code.startswith(b"\xca\xfe\xba\xbe")
        for old, new in exchanged.items():
            assert front_end.constant(old) not in code
            assert front_end.constant(new) in code


@pytest.mark.parametrize("changed", [front_end.REPLACED, *front_end.CORRECTIONS])
def test_another_torchserve_is_left_as_it_is_and_earlier_corrections_are_removed(tmp_path, monkeypatch, changed):
    other = tmp_path / "other.jar"
    with zipfile.ZipFile(front_end.jar()) as known, zipfile.ZipFile(other, "w") as made:
        for name in (front_end.REPLACED, *front_end.CORRECTIONS):
            made.writestr(name, b"\xca\xfe\xba\xbe something else" if name == changed else known.read(name))
    assert front_end.correct(tmp_path)
    monkeypatch.setattr(front_end, "jar", lambda: other)
    assert not front_end.correct(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["other.jar"]


def test_the_jar_is_the_sources_compiled(tmp_path):
    try:
        compiler()
    except ServingError as error:
        pytest.skip(str(error))
    build(tmp_path / "made.jar")
    assert (tmp_path / "made.jar").read_bytes() == front_end.OURS.read_bytes(), "run: python -m serving.front_end.build"


def test_where_there_is_no_such_compiler_the_build_says_which_one_is_needed(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr("serving.front_end.build.JDKS", tmp_path)
    with pytest.raises(ServingError, match=f"install a JDK {RELEASE}"):
        build(tmp_path / "made.jar")
