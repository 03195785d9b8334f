"""The versions of an archive in a store: the place of each, and their replacement."""

import contextlib
import json
import shutil
import subprocess
import zipfile

import pytest

from serving.errors import ServingError
from serving.store import archives, digest_file, intact_digest, publish
from serving.versions import FOLDER, HISTORY, folder_of, forget, held, previous, remove_empty, replaced, version_of


def add(store, version, served=False, name="a-eager"):
    """An archive of that version; returns its digest."""
    folder = store if served else folder_of(store, version)
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "new", "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps({"model": {"modelVersion": version}}))
        archive.writestr("model-config.yaml", "archive: {runtime: eager, model: a, variant: eager}\n")
    return publish(folder / "new", folder / f"{name}.mar")


@pytest.fixture
def store(tmp_path):
    add(tmp_path, "1.0", served=True)
    return tmp_path


def test_other_versions_are_not_served_and_are_known(store):
    add(store, "2.0")
    assert list(archives(store)) == ["a-eager"]
    assert list(held(store, "a-eager")) == ["1.0", "2.0"] and previous(store, "a-eager") is None


def test_a_replaced_version_can_be_restored(store):
    one, two, three = intact_digest(store / "a-eager.mar"), add(store, "2.0"), add(store, "3.0")
    add(store, "2.0", name="b-eager")
    replaced(store, "a-eager", "2.0")
    assert archives(store) == {"a-eager": two} and previous(store, "a-eager") == "1.0"
    replaced(store, "a-eager", "3.0")
    assert archives(store) == {"a-eager": three} and previous(store, "a-eager") == "2.0"
    assert list(held(store, "a-eager")) == ["3.0", "1.0", "2.0"]  # each is in one place
    assert folder_of(store, "2.0").exists() and not folder_of(store, "3.0").exists()
    replaced(store, "a-eager", "2.0", back=True)
    assert archives(store) == {"a-eager": two} and previous(store, "a-eager") == "1.0"
    replaced(store, "a-eager", "1.0", back=True)
    assert archives(store) == {"a-eager": one} and previous(store, "a-eager") is None


def test_every_file_is_what_sha256sum_expects(store):
    add(store, "2.0")
    replaced(store, "a-eager", "2.0")
    for folder in (store, folder_of(store, "1.0")):
        command = ["sha256sum", "-c", "a-eager.mar.sha256"]
        assert subprocess.run(command, cwd=folder, capture_output=True).returncode == 0


def test_a_signature_moves_with_its_file(store):
    add(store, "2.0")
    signed = digest_file(folder_of(store, "2.0") / "a-eager.mar")
    signed.with_name(f"{signed.name}.minisig").write_text("two")
    before = signed.read_bytes()
    replaced(store, "a-eager", "2.0")
    assert digest_file(store / "a-eager.mar").read_bytes() == before  # so the signature is still valid
    assert (store / "a-eager.mar.sha256.minisig").read_text() == "two"
    replaced(store, "a-eager", "1.0", back=True)
    assert not (store / "a-eager.mar.sha256.minisig").exists()


@pytest.mark.parametrize("step", range(1, 12))
def test_a_cut_at_any_moment_leaves_a_whole_archive(store, step, monkeypatch):
    digests = {intact_digest(store / "a-eager.mar"), add(store, "2.0")}
    left = [step]

    def cut(move):
        def moved(self, *arguments, **options):
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
            return move(self, *arguments, **options)

        return moved

    for name in ("replace", "unlink"):
        monkeypatch.setattr(f"pathlib.Path.{name}", cut(getattr(type(store), name)))
    with contextlib.suppress(KeyboardInterrupt):
        replaced(store, "a-eager", "2.0")
    monkeypatch.undo()
    assert set(archives(store).values()) <= digests
    if version_of(store / "a-eager.mar") == "1.0":
        replaced(store, "a-eager", "2.0")  # the next try continues from there
    assert version_of(store / "a-eager.mar") == "2.0" and previous(store, "a-eager") == "1.0"


def test_nothing_is_left_of_versions_that_are_removed(store):
    add(store, "2.0")
    replaced(store, "a-eager", "2.0")
    shutil.rmtree(folder_of(store, "1.0"))
    assert previous(store, "a-eager") is None  # it is gone
    forget(store, "a-eager")
    remove_empty(store)
    assert not (store / FOLDER).exists()


def test_a_damaged_history_gets_a_sentence(store):
    add(store, "2.0")
    replaced(store, "a-eager", "2.0")
    (store / FOLDER / HISTORY).write_text("{")
    with pytest.raises(ServingError, match="is no JSON; remove it"):
        previous(store, "a-eager")
