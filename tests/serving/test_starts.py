"""Starts at the same time as another start or a stop, and the status of a running server whose files are removed."""

import fcntl
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.trust.place import eventually, place

pytestmark = pytest.mark.served
WORKER_WAIT_S = 4  # how long a request waits for a model whose workers have ended


def ended(process):
    out, error = process.communicate(timeout=120)
    return process.returncode, out, error


@pytest.fixture(scope="module")
def server(null_store, tmp_path_factory):
    """A place in which two make serve started a server at the same moment, and their output."""
    folder = tmp_path_factory.mktemp("starts")
    (folder / "tmp").mkdir()
    with place(folder, null_store, vmargs=f"-Xmx256m -XX:+UseSerialGC -Dfrontend.workerWaitS={WORKER_WAIT_S}") as made:
        made.environment["TMPDIR"] = str(folder / "tmp")
        both = [made.begin("serve"), made.begin("serve")]
        made.said = [ended(each) for each in both]
        yield made


def test_two_starts_at_once_give_one_server_and_both_succeed_once_it_answers(server):
    assert [status for status, _, _ in server.said] == [0, 0], server.said
    waited = [out for _, out, _ in server.said if "Waiting for the other make serve (pid " in out]
    assert len(waited) == 1 and "already runs" in waited[0] and "Ready after" not in waited[0]
    assert sum("Ready after" in out for _, out, _ in server.said) == 1
    java = [each for each in server.processes() if each.name() == "java"]
    assert [each.pid for each in java] == [server.state.pid]
    assert server.client.predict("null", b"x", "text/plain").ok


def test_the_lock_of_a_start_is_released_when_all_is_ready(server):
    with server.directory.lock.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # neither Java nor a worker has it
        holders = [each for each in server.processes() if str(server.directory.lock) in opened(each)]
        assert holders == []


def opened(process):
    return {path for fd in Path(f"/proc/{process.pid}/fd").iterdir() if (path := os.readlink(fd))}


def test_java_alone_holds_the_temporary_folder_against_cleaners(server):
    folder = os.open(server.state.temp, os.O_RDONLY)
    try:
        with pytest.raises(BlockingIOError):
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert [each.pid for each in server.processes() if server.state.temp in opened(each)] == [server.state.pid]
    finally:
        os.close(folder)


@pytest.mark.skipif(not shutil.which("systemd-tmpfiles"), reason="systemd-tmpfiles is not installed")
def test_systemd_tmpfiles_removes_nothing_of_it(server, tmp_path):
    """A rule for its parent folder, as /tmp has one: old files go, the server's locked folder stays."""
    temp = Path(server.state.temp)
    before, loose = sorted(temp.rglob("*")), temp.parent / "torchserve-ab12cd34"
    loose.mkdir()
    (loose / "file").write_text("x")
    rule = tmp_path / "rule.conf"
    rule.write_text(f"e {temp.parent} - - - 1s\n")
    eventually(lambda: tidied(rule, loose / "file"), 30, 0.5)
    assert sorted(temp.rglob("*")) == before


def tidied(rule, file):
    subprocess.run(["systemd-tmpfiles", "--clean", str(rule)], capture_output=True, timeout=20)
    return not file.exists()


def test_torchserve_starts_dead_workers_again_for_ever(server):
    assert server.client.registration("null")["maxRetryTimeoutInSec"] > 20 * 24 * 3600


def test_status_says_since_when_a_worker_is_missing_and_comes_back_by_itself(server):
    os.kill(server.worker("null"), signal.SIGKILL)
    eventually(lambda: server.client.workers("null")[0]["status"] != "READY")
    told = server.verb("status")
    assert told.returncode == 1 and "0/1 workers ready" in told.stdout
    assert f"a worker is missing since {time.strftime('%Y-%m-%d')}" in told.stdout and "make stop serve" in told.stdout
    eventually(lambda: server.verb("status").returncode == 0)


def test_status_names_an_unpacked_archive_that_is_gone_and_the_cure(server):
    models = Path(server.state.temp, "models")
    models.rename(models.with_name("aside"))
    told = server.verb("status")  # before a worker has died
    assert told.returncode == 1 and f"gone from {server.state.temp}" in told.stdout
    os.kill(server.worker("null"), signal.SIGKILL)
    eventually(lambda: "its unpacked archive" in server.verb("status").stdout, every_s=0.5)
    began = time.monotonic()
    told = server.verb("status")
    assert time.monotonic() - began < 20 and told.returncode == 1 and "run: make stop serve" in told.stdout
    began = asked = time.monotonic()
    while (answer := ask(server)) and time.monotonic() - asked > 1:  # it waited for the worker until it was refused
        assert answer.status_code == 503 and time.monotonic() - began < 60
        asked = time.monotonic()
    assert answer.status_code == 503 and answer.headers["Retry-After"]
    assert answer.json()["message"].startswith("No worker of null runs (make status says why); retry after")
    models.with_name("aside").rename(models)
    eventually(lambda: server.client.workers("null")[0]["status"] == "READY", 60, 0.01)
    assert ask(server).ok  # at once
    assert server.verb("status").returncode == 0


def ask(server):
    return server.client.predict("null", b"x", "text/plain")


def test_a_server_without_a_record_is_seen_and_stopped(server):
    state = server.state
    for record, says in (("{", "is damaged"), (None, "not on record")):
        server.directory.record.write_text(record) if record else server.directory.record.unlink()
        told = server.verb("status")
        assert told.returncode == 1 and says in told.stdout and "make stop" in told.stdout
    stopped = server.verb("stop")
    assert stopped.returncode == 0 and "has stopped" in stopped.stdout
    assert state.processes() == [] and not Path(state.temp).exists() and server.processes() == []


def test_stop_ends_a_start_that_is_under_way(server):
    starting = server.begin("serve")
    eventually(lambda: server.directory.record.exists(), every_s=0.01)
    assert "is being started (make serve, pid" in server.verb("status").stdout
    stopped = server.verb("stop")
    assert stopped.returncode == 0 and "has stopped" in stopped.stdout
    status, _, error = ended(starting)
    assert status == 130 and error.strip() == "Interrupted; TorchServe is stopped."
    assert server.processes() == [] and server.directory.read() is None


def test_a_start_goes_on_where_the_one_before_it_was_killed(server):
    first = server.begin("serve")
    eventually(lambda: server.directory.record.exists(), every_s=0.01)
    second = server.begin("serve", FOREGROUND="1")
    assert f"Waiting for the other make serve (pid {first.pid})" in second.stdout.readline()
    before = server.state
    first.kill()
    assert until_ready(second)
    assert server.state.temp != before.temp and before.processes() == []
    with server.directory.lock.open() as lock:  # a server in the foreground does not hold the lock
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert server.verb("serve").returncode == 0
    second.terminate()
    assert second.wait(timeout=60) == 0 and server.processes() == []
    ended(first), second.stdout.close(), second.stderr.close()


def until_ready(process):
    return any("Ready after" in line for line in iter(process.stdout.readline, ""))
