"""The server under test: which cores it is planned for."""

import os

import pytest

from loadtest.errors import LoadTestError
from loadtest.load import cores
from loadtest.load.cores import Split
from loadtest.measure import servers
from serving.state import RunDirectory


class PlannedError(Exception):
    """Ends ``fresh`` where the server would be started; its argument has the CPUs of the plan."""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
def test_a_server_is_planned_for_its_own_cores_and_not_for_the_clients(tmp_path, monkeypatch):
    client, server = sorted(os.sched_getaffinity(0))[:2]

    def plan(*args):
        raise PlannedError(os.sched_getaffinity(0))

    monkeypatch.setattr(RunDirectory, "default", classmethod(lambda cls: RunDirectory(tmp_path / "run")))
    monkeypatch.setattr(servers, "chosen", lambda names, store: {})
    monkeypatch.setattr(servers.Plan, "of", plan)
    with (
        cores.on((client,)),
        pytest.raises(PlannedError) as planned,
        servers.fresh([], Split((client,), (server,)), tmp_path),
    ):
        pass
    assert planned.value.args == ({server},)


def test_a_password_in_host_is_refused_and_not_printed(monkeypatch):
    monkeypatch.setenv("HOST", "http://me:secret@127.0.0.1:8080")
    with pytest.raises(LoadTestError, match="leave it out and give TOKEN=") as refused:
        servers.given()
    assert "secret" not in str(refused.value)
