"""The Java process killed, make serve killed, an archive changed: the verbs report it, and one make serve recovers."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.trust.figures import FULL, only_full, record
from tests.trust.load import Load
from tests.trust.place import eventually, place

pytestmark = pytest.mark.served
NAME = "digits-torchscript" if FULL else "null"
KILLS = 20
# make serve that dies when TorchServe's launcher has returned, before the pid is on record.
DIES_BETWEEN = """
import os, signal
from serving.serve import serve
from serving.state import State
State.appears = lambda state, timeout_s: os.kill(os.getpid(), signal.SIGKILL)
serve()
"""


@pytest.fixture
def server(store, tmp_path):
    with place(tmp_path, store, [NAME]) as made:
        yield made
    assert made.processes() == []


def start_killed(server, command, delay=None):
    """Runs ``command`` at the place, in its own session, and kills only that process after ``delay`` seconds."""
    process = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, env={**os.environ, **server.environment},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    if delay is not None:
        time.sleep(delay)
        process.kill()
    return process.wait(timeout=60)


@only_full  # tests/serving/test_lifecycle.py does it without a load in every run
def test_the_java_process_killed_under_load(server):
    server.serve()
    before = server.state
    with Load(server, NAME) as load:
        eventually(lambda: len(load.rows) >= 20)
        struck = time.monotonic()
        os.kill(before.pid, signal.SIGKILL)
        eventually(lambda: load.rows[-1].status == 0)
    told = server.verb("status")
    again = time.monotonic()
    server.serve()
    recovered = time.monotonic() - again
    with Load(server, NAME) as after:
        eventually(lambda: len(after.rows) >= 20)
    record(
        "java_killed", archive=NAME, failed_in_flight=sum(row.failed and row.began <= struck for row in load.rows),
        serve_again_s=round(recovered, 1), answers_after=len(after.rows), wrong_after=len(after.failed()),
    )  # fmt: skip
    assert told.returncode == 1 and "has died; run: make serve" in told.stdout
    assert all(row.right for row in load.rows if row.ended < struck)
    assert after.failed() == []
    assert not Path(before.temp).exists() and before.processes() == []


def test_serve_killed_between_launch_and_record_leaves_nothing_behind(server):
    assert start_killed(server, ["-c", DIES_BETWEEN]) == -signal.SIGKILL
    orphan = server.state
    assert orphan.pid == 0 and eventually(lambda: len(orphan.processes()) >= 1) < 30
    told = server.verb("status")
    assert told.returncode == 1 and "make serve" in told.stdout
    server.serve()
    assert orphan.processes() == [] and not Path(orphan.temp).exists()
    assert server.client.predict(NAME, b"x", "text/plain").status_code < 500


@only_full
def test_serve_killed_at_random_moments(server):
    """Whatever it was doing: the next status is a sentence, and the next stop ends all its processes."""
    left, moments = 0, random.Random(5)
    for delay in [moments.uniform(0.3, 10.0) for _ in range(KILLS)]:
        start_killed(server, ["-m", "serving", "serve"], delay)
        left += len(server.processes())
        assert "Traceback" not in server.verb("status").stderr
        stopped = server.verb("stop")
        assert stopped.returncode == 0, stopped.stderr
        assert server.processes() == []
    server.serve()
    record("serve_killed", kills=KILLS, orphans_found_and_ended=left, orphans_left=0)


@only_full
def test_two_starts_at_any_distance_give_one_server(server):
    """Both end with status 0, and neither before the server answers."""
    distances = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0)
    for distance in distances:
        first = server.begin("serve")
        time.sleep(distance)
        second = server.begin("serve")
        out, error = second.communicate(timeout=120)
        assert second.returncode == 0 and server.client.predict(NAME, b"x", "text/plain").status_code < 500, out + error
        assert first.wait(timeout=120) == 0, first.communicate()
        first.communicate()
        assert [each.pid for each in server.processes() if each.name() == "java"] == [server.state.pid]
        assert server.verb("stop").returncode == 0 and server.processes() == []
    record("two_starts", distances_s=distances, servers=len(distances), failed=0, orphans_left=0)


def test_a_changed_archive_is_refused_by_name_before_anything_starts(server):
    archive = server.store / f"{NAME}.mar"
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)
    refused = server.verb("serve")
    assert refused.returncode == 1 and f"{NAME}.mar is not what was built" in refused.stderr
    assert "make archive" in refused.stderr and "Traceback" not in refused.stderr
    assert server.directory.read() is None and server.processes() == []
    record("archive_changed", bits_changed=1, started=0)
