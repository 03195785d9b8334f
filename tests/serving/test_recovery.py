"""Outages of workers are read from TorchServe's log, and make status reports them."""

from datetime import datetime, timedelta

import pytest

from serving import status
from serving.recovery import TIME, outage
from serving.state import RunDirectory

BEGAN = datetime(2026, 11, 28, 20, 30, 26, 515000)
THREAD = "org.pytorch.serve.wlm.WorkerThread"
FAILS = """[ERROR] W-9000-a-eager_1.0 {thread} - Backend worker error
org.pytorch.serve.wlm.WorkerInitializationException: Failed start worker process
	at org.pytorch.serve.wlm.WorkerThread.run(WorkerThread.java:192) ~[model-server.jar:?]
Caused by: java.io.IOException: Cannot run program "python" (in directory "{folder}"): error=2, No such file
	... 6 more
Caused by: java.io.IOException: error=2, No such file or directory
""".replace("{thread}", THREAD)


def line(seconds, text, worker="W-9000-a-eager_1.0", level="INFO "):
    at = (BEGAN + timedelta(seconds=seconds)).strftime(TIME)[:-3]
    return f"{at} [{level}] {worker} {THREAD} - {text}\n"


ENDED = line(0, "Auto recovery start timestamp: 1764361826000") + line(0, "Retry worker: 9000 in 1 seconds.")
FAILED = line(3, "x").split(" ")[0] + " " + FAILS + line(3, "Auto recovery failed again", level="WARN ")
AGAIN = line(3, "Retry worker: 9000 in 34 seconds.")


@pytest.fixture
def run(tmp_path):
    made = RunDirectory(tmp_path / "run")
    made.create()
    return made


def logged(run, text):
    (run.logs / "ts_log.log").write_text(text)
    return outage(run.logs / "ts_log.log", "a-eager")


def test_an_outage_lasts_from_the_first_end_to_the_worker_that_loads(run):
    assert logged(run, "") is None
    assert logged(run, ENDED).since == BEGAN
    found = logged(run, ENDED + FAILED + AGAIN)
    assert (found.since, found.next_try) == (BEGAN, BEGAN + timedelta(seconds=37)) and "Cannot run" in found.reason
    assert logged(run, ENDED + FAILED + line(9, "Auto recovery succeeded, reset recoveryStartTS")) is None


def test_the_longest_outage_of_several_workers_counts_and_other_archives_do_not(run):
    later = line(9, "Auto recovery start timestamp: 1", "W-9001-a-eager_1.0")
    other = line(-9, "Auto recovery start timestamp: 1", "W-9002-a-eager-b_1.0")
    assert logged(run, other) is None
    assert logged(run, other + later).since == BEGAN + timedelta(seconds=9)
    assert logged(run, other + later + ENDED).since == BEGAN


def test_outages_of_other_workers_than_those_asked_about_do_not_count(run):
    logged(run, ENDED + line(9, "Auto recovery start timestamp: 1", "W-9001-a-eager_1.0"))
    assert outage(run.logs / "ts_log.log", "a-eager", "1.0", ["9001"]).since == BEGAN + timedelta(seconds=9)
    assert outage(run.logs / "ts_log.log", "a-eager", "1.0", ["9002"]) is None


def test_outages_of_another_version_are_not_this_ones(run):
    logged(run, ENDED + line(5, "Auto recovery start timestamp: 1", worker="W-9001-a-eager_2.0"))
    assert outage(run.logs / "ts_log.log", "a-eager", "2.0").since == BEGAN + timedelta(seconds=5)
    assert outage(run.logs / "ts_log.log", "a-eager", "1.0").since == BEGAN
    assert outage(run.logs / "ts_log.log", "a-eager", "3.0") is None


@pytest.mark.parametrize(
    ("log", "worker_log", "says"),
    [
        ("", "", "why, is not in "),
        (ENDED, "", "since 2026-11-28 20:30:26: its process was ended from outside; TorchServe is starting it again"),
        (ENDED + FAILED, "", "is gone; run: make stop serve"),
        (ENDED + FAILED.replace("{folder}", "/"), "", "No such file; TorchServe has given up; run: make stop serve"),
        (ENDED + AGAIN, "MODEL_LOG - Traceback (most recent call last):\nMODEL_LOG - MemoryError: no room",
         "MemoryError: no room; TorchServe is starting it again"),
    ],
)  # fmt: skip
def test_status_says_why_and_what_to_do(run, log, worker_log, says):
    logged(run, log)
    prefix = line(2, "").split(" ")[0] + " [INFO ] W-9000-a-eager_1.0-stderr "
    run.model_log.write_text("".join(f"{prefix}{each}\n" for each in worker_log.splitlines()))
    assert says in status.why(run, "a-eager")
