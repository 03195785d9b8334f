"""Archives: the same inputs give the same bytes. A build that fails or is interrupted loses nothing. No archive is
built twice."""

import dataclasses
import os
import resource
import signal
import subprocess
import sys
import time
import zipfile

import pytest

from export import build as building
from export.archive import read_record
from export.catalog import Row, Tolerance, variant
from export.model_config import unknown_keys
from export.weights import Choice
from serving.errors import ServingError
from serving.store import archives, digest_file, intact_digest, publish, sha256
from tests.conftest import MODEL_VARIANTS, ROOT, rows_to_build, run
from tests.forked import forking
from tests.through_archive import local


def children_s():
    """The CPU seconds of the child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_a_second_run_does_no_work(store):
    before = {path.name: path.stat().st_mtime_ns for path in store.glob("*.mar")}
    worked = children_s()
    again = run("export", **rows_to_build("minilm null"))
    assert again.returncode == 0
    assert again.stdout.count("up to date") == len(MODEL_VARIANTS["minilm"]) + 1
    assert children_s() - worked < 5  # CPU time, since other processes of the machine affect elapsed time
    assert {path.name: path.stat().st_mtime_ns for path in store.glob("*.mar")} == before


def test_an_archive_holds_the_handlers_package_and_its_record(store):
    with zipfile.ZipFile(store / "minilm-torchscript.mar") as archive:
        names = set(archive.namelist())
    assert {"embedding.py", "handlers/service.py", "model.pt", "tokenizer.json", "model-config.yaml"} <= names
    assert "model.safetensors" not in names and not any(name.endswith(".pyc") for name in names)
    assert read_record(store / "minilm-torchscript.mar")["parity"]["passed"] is True


def test_a_failed_build_leaves_the_last_good_archive(hub, tmp_path):
    settings = {"MODEL_STORE": str(tmp_path), "DEVICE": "cpu", "MODELS": "bert", "VARIANTS": "eager"}
    good = run("export", **settings, HF_HUB_CACHE=str(hub), HF_HUB_OFFLINE="1")
    assert good.returncode == 0, good.stderr
    before = sha256(tmp_path / "bert-eager.mar")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}")
    bad = run("export", **settings, BERT_WEIGHTS=str(tmp_path / "broken"))
    assert bad.returncode == 1
    assert "bert-eager was not packed" in bad.stderr and "Traceback" not in bad.stderr
    assert sha256(tmp_path / "bert-eager.mar") == before
    assert archives(tmp_path) == {"bert-eager": before}


@pytest.fixture(scope="module")
def rebuilt(store, tmp_path_factory):
    """(another store, its last build as a finished process). The two builds before were killed.

    The order of the archives differs from that of the tests' store.
    """
    folder = tmp_path_factory.mktemp("rebuilt")
    settings = {"MODEL_STORE": str(folder), "DEVICE": "cpu", "MODELS": "null photos minilm", "VARIANTS": "torchscript"}
    for delay in (1.0, 6.0):
        process = subprocess.Popen(
            [sys.executable, "-m", "export"], cwd=ROOT, env={**os.environ, **settings}, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert all(intact_digest(path) for path in folder.glob("*.mar"))
    return folder, run("export", **settings)


def test_an_interrupted_build_leaves_the_store_intact_and_the_next_one_finishes(rebuilt):
    folder, finished = rebuilt
    assert finished.returncode == 0, finished.stderr
    assert sorted(archives(folder)) == ["minilm-torchscript", "null", "photos-torchscript"]
    assert [path.name for path in folder.iterdir() if path.name.startswith(".build")] == []


def test_building_again_gives_the_same_bytes(rebuilt, store):
    digests = {path.name: sha256(path) for path in rebuilt[0].glob("*.mar")}
    assert len(digests) == 3 and digests == {name: sha256(store / name) for name in digests}


def test_only_archives_that_pass_are_packed(topics, tmp_path):
    model, eager = local(topics, "text-classification"), variant("eager")[0]
    impossible = Row(model, dataclasses.replace(eager, tolerance=Tolerance(max_abs=-1.0)))
    with forking(), pytest.raises(building.ParityError, match="max"):
        building.build(impossible, "cpu", Choice(), tmp_path, lambda text: None)
    assert list(tmp_path.iterdir()) == []


def test_publishing_is_atomic(tmp_path):
    for content in (b"one", b"two"):
        (tmp_path / "new").write_bytes(content)
        publish(tmp_path / "new", tmp_path / "a.mar")
        assert intact_digest(tmp_path / "a.mar") == sha256(tmp_path / "a.mar")
        assert digest_file(tmp_path / "a.mar").read_text() == f"{sha256(tmp_path / 'a.mar')}  a.mar\n"


def test_a_changed_archive_is_refused_by_name(tmp_path):
    (tmp_path / "new").write_bytes(b"good")
    publish(tmp_path / "new", tmp_path / "a.mar")
    (tmp_path / "a.mar").write_bytes(b"evil")
    with pytest.raises(ServingError, match=r"a\.mar is not what was built.*make archive"):
        archives(tmp_path)


def test_a_misspelt_torchserve_key_is_found():
    assert unknown_keys({"minWorkers": 1, "maxBatchDelayMs": 1, "archive": {}}) == ["maxBatchDelayMs"]
