"""The threads of workers are changed on a real server under load: no request fails, each worker is replaced, and what
cannot load or is interrupted leaves everything as before."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest
import yaml

from serving.identity import read_config
from tests.conftest import ROOT, run
from tests.rollout.versions import HANDLER, Steady
from tests.trust.place import eventually, rewrite
from tests.trust.place import place as place_in

pytestmark = pytest.mark.served
# Each answer says with how many threads its worker has loaded. With 7 none loads, with 9 the first one alone.
TELLS_ITS_THREADS = """
    def _respond(self, job, context, row):
        context.set_response_header(row, "x-mark", str(self.settings.threads))
        return super()._respond(job, context, row)

    def prepare(self):
        first = __import__("pathlib").Path({first!r})
        if self.settings.threads == 7 or (self.settings.threads == 9 and first.exists()):
            raise OSError("disk on fire")
        if self.settings.threads == 9:
            first.touch()
"""


@pytest.fixture(scope="module")
def place(null_store, tmp_path_factory):
    with place_in(tmp_path_factory.mktemp("threads"), null_store) as made:
        handler = TELLS_ITS_THREADS.format(first=str(made.store.parent / "first")).encode()
        rewrite(made.store / "null.mar", lambda name, data: data + handler if name == HANDLER else data)
        made.environment |= {"MODELS_FILE": str(made.store.parent / "models.toml"), "MODEL": "null"}
        models_toml(made).write_text("[null]\nworkers = 2\n")
        made.serve()
        yield made


def models_toml(place):
    return place.store.parent / "models.toml"


def scale(place, **given):
    return run("rollout", "scale", **{**place.environment, **given})


def pids(place):
    return {each["pid"] for each in place.client.workers("null")}


def are_ready(place, number):
    return [each["status"] for each in place.client.workers("null")] == ["READY"] * number


def marks(place):
    """The numbers of threads in answers under load, of all workers."""
    with Steady(place, rate=400) as steady:
        eventually(lambda: len(steady.answers) > 200)
    assert set(steady.statuses()) == {200}
    return {each.mark for each in steady.answers}


def on_disk(place):
    """The numbers of threads in models.toml, on record, in the served archive, and where workers read it."""
    _, served = read_config(place.directory.models / "null.mar")
    unpacked = yaml.safe_load((place.client.folder("null", "1.0") / "model-config.yaml").read_text())
    kept, recorded = models_toml(place).read_text().partition("threads = ")[2].strip(), place.state.settings["null"]
    return kept, recorded.get("threads"), served["archive"]["threads"], unpacked["archive"]["threads"]


def test_each_worker_is_replaced_under_load_and_the_number_is_kept(place):
    before = pids(place)
    with Steady(place, rate=100) as steady:
        done = scale(place, THREADS="2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(steady.statuses()) == {200} and steady.unwell == []
    assert {each.mark for each in steady.answers} == {"0", "2"}
    assert len(pids(place)) == 2 and not pids(place) & before and not any(map(psutil.pid_exists, before))
    assert marks(place) == {"2"} and on_disk(place) == ("2", 2, 2, 2)
    assert "null has workers 2, threads 2, batch size 1 now" in done.stdout
    assert "already runs" in place.verb("serve").stdout

    os.kill(place.worker("null"), signal.SIGKILL)  # what TorchServe starts again has the number too
    eventually(lambda: not are_ready(place, 2))
    eventually(lambda: are_ready(place, 2), within_s=60)
    assert marks(place) == {"2"}


@pytest.mark.parametrize("threads", ["7", "9"], ids=["the first one", "the second one"])
def test_a_new_worker_that_cannot_load_leaves_everything_as_before(place, threads):
    before = pids(place)
    with Steady(place, rate=100) as steady:
        done = scale(place, THREADS=threads, BATCH_SIZE="3")
    assert done.returncode == 1 and "a worker of null 1.0 could not load: " in done.stderr, done.stderr
    assert "null has workers 2, threads 2, batch size 1 as before." in done.stderr and "Traceback" not in done.stderr
    assert set(steady.statuses()) == {200} and steady.unwell == []
    assert {each.mark for each in steady.answers} == ({"2"} if threads == "7" else {"2", "9"})
    assert len(pids(place)) == 2 and len(pids(place) & before) == (2 if threads == "7" else 1)
    assert marks(place) == {"2"} and on_disk(place) == ("2", 2, 2, 2)
    assert place.client.registration("null")["batchSize"] == 1


def test_a_worker_that_was_ended_before_its_next_start_stays_it(place):
    """TorchServe itself starts it again, and it answers beside the others with whatever it read."""
    settings, pause = place.client.folder("null", "1.0") / "model-config.yaml", "Retry worker: {} in 2 seconds"
    right = settings.read_text()
    settings.write_text(right.replace("threads: 2", "threads: 7"))
    place.client.change("null", "1.0", workers=3)
    failing = place.client.workers("null")[-1]["id"]
    eventually(lambda: pause.format(failing) in (place.directory.logs / "ts_log.log").read_text(), within_s=60)
    place.client.end_worker("null", "1.0", failing)
    settings.write_text(right)
    time.sleep(5)
    running = {each.pid for each in place.processes() if "model_service_worker.py" in " ".join(each.cmdline())}
    assert are_ready(place, 2) and running == pids(place)


def test_an_interrupted_change_goes_back(place):
    environment = {**os.environ, **place.environment, "THREADS": "3"}
    with Steady(place, rate=100) as steady, subprocess.Popen(
        [sys.executable, "-m", "rollout", "scale"], cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE
    ) as process:  # fmt: skip
        assert any("has ended; 1 more to replace" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 130
    assert set(steady.statuses()) == {200} and steady.unwell == []
    assert len(pids(place)) == 2 and marks(place) == {"2"} and on_disk(place) == ("2", 2, 2, 2)


def test_workers_and_threads_change_together_also_where_a_killed_change_left_one_more(place):
    place.client.change("null", "1.0", workers=3)
    eventually(lambda: are_ready(place, 3), within_s=60)
    with Steady(place, rate=100) as steady:
        done = scale(place, THREADS="1")
        assert done.returncode == 0 and len(pids(place)) == 2, done.stdout + done.stderr
        done = scale(place, THREADS="4", WORKERS="1")
    assert done.returncode == 0 and len(pids(place)) == 1, done.stdout + done.stderr
    assert set(steady.statuses()) == {200} and steady.unwell == []
    assert marks(place) == {"4"} and on_disk(place) == ("4", 4, 4, 4)
    assert "workers = 1" in models_toml(place).read_text()


def test_an_earlier_front_end_is_refused_before_anything_changes(place):
    now = place.state
    place.directory.write(replace(now, front_end=["versions", "mirror"]))
    try:
        done = scale(place, THREADS="2")
    finally:
        place.directory.write(now)
    assert done.returncode == 1 and "started by an earlier version of this project" in done.stderr
    assert on_disk(place) == ("4", 4, 4, 4)


def test_what_cannot_be_kept_is_not_changed(place):
    text = models_toml(place).read_text()
    models_toml(place).write_text(f"{text}\n[null\n")
    try:
        done = scale(place, BATCH_SIZE="5")
    finally:
        models_toml(place).write_text(text)
    assert done.returncode == 1 and "is no valid TOML" in done.stderr
    assert "correct that line. null has workers 1, batch size 1 as before." in done.stderr
    assert place.client.registration("null")["batchSize"] == 1
