"""The two loops against a fake server that stalls for a second."""

import json
import subprocess
import sys
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest

from loadtest import stats
from tests.conftest import run

ROOT = Path(__file__).resolve().parents[3]


def printed(*kinds):
    """What the program prints for each kind, all at once."""
    command = [sys.executable, "-m", "tests.loadtest.stalling"]
    with ExitStack() as stack:
        started = [stack.enter_context(subprocess.Popen([*command, kind], cwd=ROOT, stdout=subprocess.PIPE, text=True))
                   for kind in kinds]  # fmt: skip
        for each in started:
            stack.callback(each.kill)  # only one that hangs still runs then
        texts = [each.communicate(timeout=60)[0] for each in started]
    assert [each.returncode for each in started] == [0] * len(kinds)
    return dict(zip(kinds, map(json.loads, texts), strict=True))


@cache  # not a fixture, since fixtures may run beside other tests
def stalls():
    """Three loads beside each other: they wait most of the time, and other tests wait for them."""
    return printed("open", "closed", "crowd")


def stalled(kind):
    return stalls()[kind]


@pytest.mark.alone
def test_the_open_loop_sees_the_stall_from_the_intended_start():
    open_loop = stalled("open")
    # A third of all requests was due during the stall, or while the server answered the requests that had gathered.
    assert open_loop["requests"] == 300
    assert open_loop["latency_ms"]["90"] > 500


@pytest.mark.alone
def test_the_service_time_hides_it():
    open_loop = stalled("open")
    assert open_loop["service_ms"]["90"] < 100
    assert open_loop["service_ms"]["50"] >= 2


@pytest.mark.alone
def test_a_closed_loop_hides_it_too():
    found = stalled("closed")
    assert found["latency_ms"] == found["service_ms"]
    assert found["latency_ms"]["99"] < 100


@pytest.mark.alone
def test_wrong_answers_are_found_and_the_servers_own_times_kept():
    open_loop = stalled("open")
    assert open_loop["errors"] == ["", "wrong answer"]
    assert open_loop["wrong"] == open_loop["answered"] // 7
    assert open_loop["inference_us"] == [1500]


@pytest.mark.alone
def test_an_answer_that_waits_for_the_client_is_not_the_servers_time():
    """Eight answers come together, and the client reads each in 10 ms. Then all users send again, 120 ms before the
    next answers. Times of the reading thread would be 120 to 190 ms, with a median of 155."""
    found = stalled("crowd")
    assert found["errors"] == [""] and found["requests"] > 50
    assert 90 < found["service_ms"]["50"] < 140


@pytest.mark.alone
@pytest.mark.parametrize("kind", ["two-open", "two-closed"])
def test_two_processes_see_what_the_server_answered_each_request_once(kind):
    found = printed(kind)[kind]
    first, second = found["parts"]
    sent = [row[2] for row in found["rows"]]
    assert found["processes"] == 2 and min(len(first), len(second)) > 100
    assert sorted(found["rows"]) == sorted([*first, *second]) and sent == sorted(sent)
    assert len(found["rows"]) == found["answered"] == found["checked"] and found["errors"] == [""]
    latencies = [row[3] - row[1] for row in [*first, *second]]
    assert found["latency_us"] == {str(q): stats.percentile(latencies, q) for q in (50, 99)}
    if found["due"]:  # both processes keep one schedule, so the intended start is never after the send
        assert sorted(row[1] for row in found["rows"]) == found["due"]


NEEDED = """
import json
from loadtest.load.crew import needed
print(json.dumps([needed(users, rates) for users, rates in
                  (([1, 16], [25]), ([31], []), ([32], [2000]), ([64], []), ([], [2001]), ([], [9000]))]))
"""


def test_a_load_has_as_many_processes_as_it_needs():
    shown = subprocess.run([sys.executable, "-c", NEEDED], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(shown.stdout) == [1, 1, 2, 4, 2, 5]


def test_a_run_whose_server_breaks_ends_with_that_load_and_reports_it(tmp_path):
    command = [sys.executable, "-m", "tests.loadtest.stalling", "serve", "0", "", "0", "60"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            asked = {"MODELS": "null", "CONCURRENCY": "2,4,8", "DURATION": "0.3", "ROUNDS": "1"}
            done = run("loadtest", HOST=server.stdout.readline().strip(), TOKEN="x", RESULTS=str(tmp_path), **asked)
        finally:
            server.terminate()
    assert done.returncode == 1 and "Ended early at null, 2 at a time: " in done.stderr
    assert "requests failed (500: " in done.stderr and "4 at a time" not in done.stdout + done.stderr, done.stderr
    (folder,) = tmp_path.glob("2*")
    assert (folder / "report.html").exists()
