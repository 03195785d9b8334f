"""A process reads the choices that another process measured. With an unusable file, it measures them again."""

import json
import multiprocessing
import time

import pytest

from handlers.lean.choices import FOLDER, remembered

WAYS = ["fused", (64, 32, 1), (128, 64, 4)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER, str(tmp_path / "lean"))
    return tmp_path / "lean"


def measured(way, seen):
    return lambda: seen.append(way) or way


@pytest.mark.parametrize("way", WAYS)
def test_a_choice_is_measured_once(folder, way):
    seen = []
    for _ in range(2):
        assert remembered("gpu", "a shape", WAYS, measured(way, seen)) == way
    assert remembered("gpu", "another", WAYS, measured("fused", seen)) == "fused"
    assert remembered("another gpu", "a shape", WAYS, measured("fused", seen)) == "fused"
    assert seen == [way, "fused", "fused"] and {path.suffix for path in folder.iterdir()} == {".json", ".lock"}


def test_without_a_folder_each_process_measures(monkeypatch):
    monkeypatch.delenv(FOLDER, raising=False)
    seen = []
    for _ in range(2):
        remembered("gpu", "a shape", WAYS, measured("fused", seen))
    assert len(seen) == 2


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a shape": [9, 9]}', '{"a shape": null}', '{"a shape": {"a": 1}}'])
def test_a_file_without_a_valid_choice_is_measured_again(folder, text):
    folder.mkdir()
    (folder / "gpu.json").write_text(text)
    assert remembered("gpu", "a shape", WAYS, lambda: WAYS[1]) == WAYS[1]
    assert json.loads((folder / "gpu.json").read_text()) == {"a shape": [64, 32, 1]}


def test_a_folder_that_cannot_be_made_does_not_prevent_the_measurement(folder):
    folder.write_text("a file is in its place")
    assert remembered("gpu", "a shape", WAYS, lambda: "fused") == "fused"


def _worker(log):
    def measure():
        log.put(("began", time.monotonic()))
        time.sleep(0.2)
        log.put(("ended", time.monotonic()))
        return "fused"

    for key in ("a", "b"):
        assert remembered("gpu", key, WAYS, measure) == "fused"


def test_processes_measure_one_after_the_other_and_each_shape_once(folder):
    context = multiprocessing.get_context("fork")
    log = context.Queue()
    workers = [context.Process(target=_worker, args=(log,)) for _ in range(3)]
    for each in workers:
        each.start()
    for each in workers:
        each.join(30)
    assert [each.exitcode for each in workers] == [0, 0, 0]
    events = sorted((log.get(timeout=5) for _ in range(4)), key=lambda each: each[1])
    assert [name for name, _ in events] == ["began", "ended", "began", "ended"] and log.empty()
