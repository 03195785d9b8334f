"""A server that a killed search left is stopped; the user's is not. The servers are processes that only sleep."""

import os
import subprocess

import psutil
import pytest

from choose import own_server
from choose.errors import ChooseError
from choose.folder import held
from loadtest.measure.servers import ServerRunsError
from serving.state import OWN, RunDirectory, State
from serving.temp_folder import make


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Starts something that looks like a server with these variables; it is ended in any case."""
    monkeypatch.setenv("RUN_DIR", str(tmp_path / "run"))
    run, started = RunDirectory.default(), []
    run.create()

    def start(**variables):
        temp, lock = make()
        os.close(lock)
        process = subprocess.Popen(["sleep", "60"], env={**variables, OWN: temp})
        started.append(process)
        state = State(temp, "", pid=process.pid, ready=True)
        assert state.appears(timeout_s=10)
        run.write(state)
        return process

    yield start
    for each in started:
        each.kill()
        each.wait()


def ended():
    """The pid of a process that has ended."""
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


def test_a_server_of_a_killed_search_is_stopped(server):
    left = server(**{own_server.MARK: str(ended())})
    own_server.make_way()
    assert not psutil.pid_exists(left.pid) and RunDirectory.default().read() is None


def test_the_users_server_and_that_of_a_search_under_way_are_refused_and_live_on(server):
    for variables in ({}, {own_server.MARK: str(os.getppid())}, {own_server.MARK: "nonsense"}):
        theirs = server(**variables)
        with pytest.raises(ServerRunsError, match="make stop"):
            own_server.make_way()
        assert theirs.poll() is None


def test_a_folder_has_one_search_at_a_time(tmp_path):
    with held(tmp_path):
        with pytest.raises(ChooseError, match="Another make choose"), held(tmp_path):
            pass
    with held(tmp_path):
        pass
