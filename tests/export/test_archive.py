"""Archives: same inputs, same bytes; nothing lost when a build fails or is cut off; nothing done twice."""

import os
import signal
import subprocess
import sys
import time
import zipfile

import pytest

from export.archive import read_record
from export.model_config import unknown_keys
from serving.errors import ServingError
from serving.store import archives, digest_file, intact_digest, publish, sha256
from tests.conftest import CPU_VARIANTS, ROOT, rows_to_build, run


def test_building_again_gives_the_same_bytes(store, tmp_path):
    """Another store, another order, another process: the digests of the tests' store come out again."""
    built = run("export", MODEL_STORE=str(tmp_path), DEVICE="cpu", MODELS="null digits minilm", VARIANTS="")
    assert built.returncode == 0, built.stderr
    digests = {path.name: sha256(path) for path in tmp_path.glob("*.mar")}
    assert len(digests) == 5
    assert digests == {name: sha256(store / name) for name in digests}


def test_a_second_run_does_no_work(store):
    before = {path.name: path.stat().st_mtime_ns for path in store.glob("*.mar")}
    started = time.perf_counter()
    again = run("export", **rows_to_build("minilm null"))
    assert again.returncode == 0
    assert again.stdout.count("up to date") == len(CPU_VARIANTS) + 1
    assert time.perf_counter() - started < 5
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


def test_a_build_cut_off_leaves_the_store_whole_and_the_next_one_finishes(store, tmp_path):
    command = [sys.executable, "-m", "export"]
    environment = {**os.environ, "MODEL_STORE": str(tmp_path), "DEVICE": "cpu", "MODELS": "null digits"}
    for delay in (1.0, 6.0):
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert all(intact_digest(path) for path in tmp_path.glob("*.mar"))
    finished = run("export", MODEL_STORE=str(tmp_path), DEVICE="cpu", MODELS="null digits", VARIANTS="")
    assert finished.returncode == 0, finished.stderr
    assert sorted(archives(tmp_path)) == ["digits-eager", "digits-torchscript", "null"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".build")] == []


def test_only_what_passed_is_packed(tmp_path):
    import dataclasses

    from export import build as building
    from export.catalog import Row, Tolerance, model, variant
    from export.weights import Choice

    impossible = Row(model("digits"), dataclasses.replace(variant("eager")[0], tolerance=Tolerance(max_abs=0.0)))
    with pytest.raises(building.ParityError, match="max"):
        building.build(impossible, "cpu", Choice(), tmp_path, lambda text: None)
    assert list(tmp_path.iterdir()) == []


def test_publishing_is_never_half_done(tmp_path):
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
