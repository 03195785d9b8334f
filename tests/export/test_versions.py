"""VERSION: the folder of another version's build, the version in the archive, and that a version does not change."""

import json
import shutil
import zipfile

import pytest

import export.__main__ as verb
from export import build as building
from export.archive import RECORD, read_record
from serving.store import archives, intact_digest, publish
from serving.versions import folder_of, replaced, version_of
from tests.conftest import run


@pytest.fixture
def own(store, tmp_path, monkeypatch):
    """A store with an up-to-date copy of ``null``, and an environment that selects it."""
    for name in ("null.mar", "null.mar.sha256"):
        shutil.copy(store / name, tmp_path)
    monkeypatch.setattr(verb, "STORE", tmp_path)
    for name, value in {"MODELS": "null", "VARIANTS": "", "DEVICE": "cpu", "MODELS_FILE": str(tmp_path / "x")}.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def of_other_sources(archive):
    """Changes the archive's fingerprint, as if it were built from other sources."""
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(archive.with_name("new"), "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, json.dumps({**json.loads(data), "fingerprint": "x"}) if name == RECORD else data)
    publish(archive.with_name("new"), archive)


def build(capsys, monkeypatch, version=""):
    """(exit status, verdict, messages) of make archive VERSION=..."""
    monkeypatch.setenv("VERSION", version)
    status = verb.main()
    said = capsys.readouterr()
    return status, said.out.splitlines()[-1].split()[-1] if said.out else "", said.err


def test_another_version_is_built_beside_the_served_one_and_states_its_version(own, capsys, monkeypatch):
    # Builds in this process, since a separate one would import torch again.
    def here(row, device, choice, folder, version, references, report):
        return building.build(row, device, choice, folder, report, version, references)

    monkeypatch.setattr(verb, "build_in_process", here)
    before = archives(own)
    status, verdict, said = build(capsys, monkeypatch, "2.0")
    assert (status, verdict) == (0, "built")
    assert "null 2.0 is built and not served; run: make rollout MODEL=null VERSION=2.0" in said
    built = folder_of(own, "2.0") / "null.mar"
    assert version_of(built) == "2.0" and intact_digest(built)
    assert read_record(built)["version"] == "2.0" and version_of(own / "null.mar") == "1.0"
    assert archives(own) == before
    listed = run("export.list_models", MODEL_STORE=str(own), DEVICE="cpu", MODELS_FILE=str(own / "x"))
    assert "null: version 1.0 is served; make rollout serves 2.0" in listed.stdout


def test_a_version_does_not_change_and_the_first_one_does(own, capsys, monkeypatch):
    built = []

    def pretend(row, device, choice, folder, version, references, report):
        built.append((folder, version))
        return "not in this test"

    monkeypatch.setattr(verb, "build_in_process", pretend)
    assert build(capsys, monkeypatch)[:2] == (0, "date") and build(capsys, monkeypatch, "1.0")[:2] == (0, "date")
    build(capsys, monkeypatch, "2.0")
    assert built == [(folder_of(own, "2.0"), "2.0")]
    shutil.copytree(own, folder_of(own, "2.0"), ignore=lambda *_: ["versions"], dirs_exist_ok=True)
    assert build(capsys, monkeypatch, "2.0")[:2] == (0, "date")
    of_other_sources(folder_of(own, "2.0") / "null.mar")
    status, verdict, said = build(capsys, monkeypatch, "2.0")
    assert (status, verdict) == (1, "refused") and len(built) == 1
    assert "null 2.0 was not packed: version 2.0 exists, built from other sources, weights or packages" in said
    assert "make archive MODELS=null VERSION=..." in said
    of_other_sources(own / "null.mar")
    build(capsys, monkeypatch)
    assert built[1:] == [(own, "1.0")]  # the first version may change


def test_make_archive_leaves_a_version_that_was_rolled_out(own, capsys, monkeypatch):
    folder = folder_of(own, "2.0")
    folder.mkdir(parents=True)
    with zipfile.ZipFile(own / "null.mar") as old, zipfile.ZipFile(folder / "new", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b'"modelVersion": "1.0"', b'"modelVersion": "2.0"'))
    publish(folder / "new", folder / "null.mar")
    replaced(own, "null", "2.0")
    assert build(capsys, monkeypatch)[:2] == (0, "date")
    of_other_sources(own / "null.mar")
    before = archives(own)
    status, verdict, said = build(capsys, monkeypatch)
    assert (status, verdict) == (0, "kept") and "null is kept: version 2.0 exists" in said
    assert archives(own) == before


def test_a_malformed_version_is_refused_in_one_sentence(own, capsys, monkeypatch):
    assert build(capsys, monkeypatch, "a_b") == (
        2, "", "VERSION=a_b is no version: write up to 32 letters, digits, '.' and '-', as in VERSION=2.0\n"
    )  # fmt: skip
