"""A served model of images: copies of clients' requests are compared by its task's comparer, and the threads that
compute change under load."""

import json
import os
import re
from base64 import b64encode

import pytest

from tests.conftest import ROOT, run
from tests.rollout.versions import Steady, add
from tests.trust.place import place as place_in
from tests.trust.place import rewrite

pytestmark = pytest.mark.served
NAME, HANDLER = "digits-eager", "image_classification.py"
FEW = {"MODEL": NAME, "REQUESTS": "20", "WATCH": "1s", "SHADOW": "2s", "MAX_P99_RATIO": "1000"}
# What versions know a client by: nobody else asks for three labels.
OF_A_CLIENT = json.dumps({
    "image": b64encode((ROOT / "handlers" / "samples" / "seven.png").read_bytes()).decode(), "parameters": {"top_k": 3},
}).encode()  # fmt: skip
SLIGHTLY_OTHER = """
    def answer(self, batch, index, found, options):
        best = found[index][: options["top_k"]]
        return [{"label": self.labels[label], "score": 0.99 * score} for label, score in best]
"""
WRONG_ON_CLIENTS = """
    def answer(self, batch, index, found, options):
        best, other = found[index][: options["top_k"]], int(options["top_k"] == 3)
        return [{"label": self.labels[label - other], "score": score} for label, score in best]
"""
TELLS_ITS_THREADS = """
    def _respond(self, job, context, row):
        context.set_response_header(row, "x-mark", str(__import__("torch").get_num_threads()))
        return super()._respond(job, context, row)
"""


@pytest.fixture(scope="module")
def place(store, tmp_path_factory):
    with place_in(tmp_path_factory.mktemp("digits"), store, [NAME]) as made:
        changed = TELLS_ITS_THREADS.encode()
        rewrite(made.store / f"{NAME}.mar", lambda name, data: data + changed if name == HANDLER else data)
        made.environment |= {"MODELS_FILE": str(made.store.parent / "models.toml")}
        made.serve()
        yield made


def load(place):
    return Steady(place, rate=30, body=OF_A_CLIENT, name=NAME, content_type="application/json")


def verb(place, name, **given):
    return run("rollout", name, **{**place.environment, **FEW, **given})


def test_the_threads_that_compute_are_those_asked_for(place):
    cores = len(os.sched_getaffinity(0))
    with load(place) as steady:
        done = verb(place, "scale", THREADS=str(cores + 1))
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(steady.statuses()) == {200} and steady.unwell == []
    assert {each.mark for each in steady.answers} == {str(cores), str(cores + 1)}
    assert place.client.predict(NAME, OF_A_CLIENT, "application/json").headers["x-mark"] == str(cores + 1)


@pytest.mark.parametrize(
    ("version", "change", "code"), [("2.0", WRONG_ON_CLIENTS, 1), ("3.0", SLIGHTLY_OTHER, 0)], ids=["wrong", "alike"]
)
def test_copies_are_compared_as_the_task_compares_answers(place, version, change, code):
    add(place, version, change, name=NAME, handler=HANDLER)
    with load(place) as steady:
        done = verb(place, "rollout", VERSION=version)
    assert done.returncode == code, done.stdout + done.stderr
    counted = re.search(r"(\d+) of \d+ requests of clients .* (\d+) answered alike, (\d+) .* (\d+) failed", done.stdout)
    copied, alike, different, failed = map(int, counted.groups())
    assert copied > 10 and failed == 0 and (alike, different) == ((0, copied) if code else (copied, 0)), done.stdout
    assert set(steady.statuses()) == {200} and steady.unwell == []
    assert {each.version for each in steady.answers} == ({"1.0"} if code else {"1.0", version})
    assert ("and 100.0 differ" in done.stderr) == bool(code) and "requests are answered alike" in done.stdout
