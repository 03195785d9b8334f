"""make choose against real servers: two configurations of a cheap archive, and a checkpoint, up to the decision."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from serving.config import Config
from serving.model_settings import read_tables
from serving.state import RunDirectory
from tests.choose.schema import problems
from tests.conftest import ROOT, run, write_config
from tests.loadtest.test_served import answers
from tests.page_handlers import write_embedder, write_handler
from tests.trust.place import eventually

pytestmark = pytest.mark.served


@pytest.fixture
def place(tmp_path):
    """The variables of a separate place. make choose builds archives into its store."""
    return {
        "CONFIG": str(write_config(tmp_path / "config.properties")), "RUN_DIR": str(tmp_path / "run"),
        "RESULTS": str(tmp_path / "results"), "MODELS_FILE": str(tmp_path / "models.toml"),
        "CHOOSE_STORE": str(tmp_path / "store"), "MODELS": "", "VARIANTS": "", "DEVICE": "cpu",
    }  # fmt: skip


def test_two_configurations_are_searched_measured_again_and_decided_between(place, tmp_path):
    # A second worker of null only takes memory, so the default wins.
    asked = {"MODEL": "null", "OBJECTIVE": "memory", "WORKERS": "2", "THREADS": "1", "BATCHES": "1", "ROUNDS": "1",
             "DURATION": "0.3", "BUDGET": "5m"}  # fmt: skip
    done = run("choose", **{**place, **asked})
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (tmp_path / "results").glob("*/decision.json")
    decision = json.loads(path.read_text())
    assert [each["settings"]["workers"] for each in decision["trials"]] == [1, 2]
    for each in decision["trials"]:
        (point,) = each["points"]
        assert each["meets"] and point["load"] == 1 and point["error_rate"] == point["answers_wrong"] == 0
    assert problems(decision) == []
    used = {each["settings"]["workers"]: each["memory_mib"] for each in decision["finalists"]}
    assert 50 < used[1] < used[2] - 10
    assert decision["default_stays"] and decision["winner"] == decision["default"]
    (other,) = [each for each in decision["finalists"] if not each["is_default"]]
    assert other["ratio_to_default"]["ratio"] > 1
    assert "trial 1: null, 2 workers of 1 thread" in done.stderr and "left" in done.stderr
    assert (path.parent / "study.db").exists() and (path.parent / "decision.html").exists()
    assert str(ROOT) not in path.read_text()
    assert RunDirectory(tmp_path / "run").read() is None
    assert not any(answers(port) for port in Config.load(tmp_path / "config.properties").ports())


def searching(asked):
    """make choose as a process whose stderr is read while it runs."""
    command, environment = [sys.executable, "-m", "choose"], {**os.environ, **asked}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )


def read_until(words, stream):
    """The lines up to the one with ``words``, or all."""
    read = ""
    for line in stream:
        read += line
        if words in line:
            break
    return read


def test_a_new_checkpoint_is_built_and_its_search_is_killed_goes_on_decides_and_is_found_by_its_name(place, tmp_path):
    """The checkpoint has a user's own handler, so that its archives are measured as they are served."""
    folder, handler = write_embedder(tmp_path / "embedder"), write_handler(tmp_path, "short_vectors.py")
    search = {**place, "VARIANTS": "onnx", "OBJECTIVE": "latency", "WORKERS": "1", "THREADS": "1", "BATCHES": "8",
              "ROUNDS": "1", "DURATION": "0.3", "BUDGET": "5m"}  # fmt: skip
    asked = {**search, "MODEL": str(folder), "NAME": "short", "POOLING": "mean", "HANDLER": str(handler)}
    config, directory = Config.load(tmp_path / "config.properties"), RunDirectory(tmp_path / "run")

    with searching(asked) as killed:
        said = read_until("trial 1:", killed.stderr)
        eventually(lambda: (state := directory.read()) is not None and state.running(), 120)
        killed.kill()
    assert "short (embedding): builds what is missing of onnx, torchscript\n" in said
    assert killed.returncode == -9 and directory.read().running()

    done = run("choose", **asked)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "continuing after 1 trial of short-latency-" in done.stderr
    assert directory.read() is None and not any(answers(port) for port in config.ports())
    (path,) = (tmp_path / "results").glob("short-latency-*/decision.json")
    decision = json.loads(path.read_text())
    assert [each["variant"] for each in decision["trials"]] == ["torchscript", "onnx"]
    assert all(each["meets"] and each["parity"]["passed"] for each in decision["finalists"])
    assert problems(decision) == []
    assert decision["command"].startswith("make choose MODEL=short ") and str(tmp_path) not in path.read_text()
    table = read_tables(tmp_path / "models.toml")["short"]
    assert table["source"] == str(folder) and table["task"] == "embedding"
    assert table.get("variant") == (None if decision["default_stays"] else "onnx")
    found = {each["variant"]: each for each in decision["finalists"]}
    assert {each["handler"] for each in found.values()} == {"short_vectors.py"}
    assert found["torchscript"]["answers_as_default"] == found["onnx"]["answers_as_default"] == 1
    assert " before `short_vectors.py`" in done.stdout
    assert "before short_vectors.py" in (path.parent / "decision.md").read_text()

    with searching({**search, "MODEL": "short"}) as again:  # by its name, the same question
        said = read_until("continuing after 2 trials of short-latency-", again.stderr)
        again.terminate()
        rest = again.stderr.read()
    assert "continuing after 2 trials of short-latency-" in said and again.returncode == 130, said + rest
    assert "Interrupted: the server is stopped" in rest and directory.read() is None


REFUSING = """
from handlers.errors import RequestError
from handlers.tasks.embedding import Embedding


class OnlyShort(Embedding):
    def preprocess(self, item, options):
        if len(item) > 12:
            raise RequestError("Too long.")
        return item
"""


def test_a_handler_that_refuses_the_load_tests_requests_is_refused_with_its_own_sentence(place, tmp_path):
    folder, handler = write_embedder(tmp_path / "embedder"), tmp_path / "only_short.py"
    handler.write_text(REFUSING)
    asked = {"MODEL": str(folder), "POOLING": "mean", "HANDLER": str(handler), "EXAMPLE": "short", "TRIALS": "1",
             "VARIANTS": "torchscript", "WORKERS": "1", "THREADS": "1", "BATCHES": "8", "BUDGET": "5m"}  # fmt: skip
    done = run("choose", **{**place, **asked})
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "embedder-torchscript does not answer sentence-00, but 400" in done.stderr.splitlines()[-1]
    assert "Too long." in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"MODEL": "nope"}, "known"),
        ({"MODEL": "minilm", "MIN_ACCURACY": "99"}, "MIN_COSINE=0.999"),
        ({"MODELS": "digits minilm", "MIN_ACCURACY": "99"}, "held-out set, and minilm has none"),
        ({"MODEL": "minilm", "BUDGET": "soon"}, "BUDGET=20m"),
        ({"MODEL": "null", "RESULTS": "/dev/null/results"}, "RESULTS=/dev/null/results cannot be written"),
        ({"MODEL": "/no/such/folder"}, "There is no /no/such/folder"),
        ({"MODEL": str(ROOT / "docs")}, "docs"),
        ({"MODEL": "minilm", "VARIANTS": "fp16"}, "The variant 'fp16' runs on a gpu"),
    ],
)
def test_a_user_error_is_one_sentence(place, variables, words):
    refused = run("choose", **{**place, **variables})
    assert refused.returncode == 2 and words in refused.stderr and "Traceback" not in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_make_choose_reads_its_variables_from_the_command_line_alone(place):
    shown = subprocess.run(
        ["make", "choose", f"PYTHON={sys.executable}", "MODEL=/data/no-bert"], cwd=ROOT,
        env={**os.environ, **place, "BUDGET": "of another program"}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert shown.returncode != 0 and "There is no /data/no-bert" in shown.stderr
