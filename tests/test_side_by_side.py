"""Processes that run the tests side by side: nothing runs beside a test that is alone, groups stay together, ports and
stores are not shared by accident."""

import json
import os
import subprocess
import sys

from tests.conftest import ROOT
from tests.side_by_side import free_ports

# A separate suite with these hooks. Each test records its process, its start and its end. For a test that is alone
# these are the times of the call, for the others those with fixtures.
SUITE = """
import fcntl, json, os, time, pytest
from pathlib import Path
from tests import side_by_side

side_by_side.LOCKS = Path({locks!r})  # this suite runs within a test that has its turn

def pytest_configure(config):
    config.pluginmanager.register(side_by_side)

@pytest.fixture
def every_row():
    pass

@pytest.fixture
def null_store():
    pass

@pytest.fixture
def store(null_store):
    pass

def note(name, began):
    Path({folder!r}, name).write_text(json.dumps([os.getpid(), began, time.time()]))

@pytest.fixture(autouse=True)
def noted(request):
    began = time.time()
    yield
    if not request.node.get_closest_marker("alone"):
        note(request.node.name, began)

@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    began = time.time()
    try:
        return (yield)
    finally:
        if item.get_closest_marker("alone"):
            note(item.name, began)

@pytest.fixture(scope="module")
def server():
    side_by_side.LOCKS.mkdir(exist_ok=True)
    with (side_by_side.LOCKS / "tests").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # fails where other tests have to wait
"""
TESTS = {
    "test_alone": """
import time, pytest

@pytest.mark.alone
def test_alone():
    time.sleep(0.1)

def test_of_the_same_file():
    time.sleep(0.1)
""",
    "test_alone_too": """
import time, pytest
pytestmark = pytest.mark.alone

def test_alone_too(server):
    time.sleep(0.1)
""",
    "test_first": """
import time

def test_first():
    time.sleep(0.1)

def test_with_every_row(every_row):
    time.sleep(0.1)
""",
    "test_second": """
import time, pytest

@pytest.mark.parametrize("number", range(6))
def test_second(number):
    time.sleep(0.1)

def test_with_the_store(store):
    time.sleep(0.1)

def test_with_every_row_too(every_row):
    time.sleep(0.1)
""",
}


def ran(tmp_path, *options):
    """{test: (process, began, ended)} of the suite."""
    suite, notes = tmp_path / "suite", tmp_path / "notes"
    suite.mkdir()
    notes.mkdir()
    (suite / "conftest.py").write_text(SUITE.format(folder=str(notes), locks=str(tmp_path / "locks")))
    for name, text in TESTS.items():
        (suite / f"{name}.py").write_text(text)
    (suite / "pytest.ini").write_text("[pytest]\nmarkers =\n    alone\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "xdist", "-p", "no:cacheprovider", *options, str(suite)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    # Without the plugins of other projects, of which schemathesis' takes two seconds of each process.
    environment |= {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=suite, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and "13 passed" in done.stdout, done.stdout + done.stderr
    return {path.name: tuple(json.loads(path.read_text())) for path in notes.iterdir()}


def test_two_processes_share_the_tests_and_leave_those_alone_that_are(tmp_path):
    """The fixture ``server`` of one that is alone fails if no other test may run beside it."""
    found = ran(tmp_path, "-n", "2", "--no-loadscope-reorder")
    process = {name: pid for name, (pid, _, _) in found.items()}
    assert len(set(process.values())) == 2
    for together in (["test_alone", "test_of_the_same_file"], ["test_with_every_row", "test_with_every_row_too"],
                     [f"test_second[{number}]" for number in range(6)]):  # fmt: skip
        assert len({process[name] for name in together}) == 1, together
    for name in ("test_alone", "test_alone_too"):
        _, start, end = found[name]
        beside = [other for other, (_, at, until) in found.items() if other != name and at < end and until > start]
        assert beside == [], name


def in_order(found):
    return sorted(found, key=lambda name: found[name][1])


def test_what_waits_for_archives_begins_first_and_those_that_run_alone_are_last(tmp_path):
    assert in_order(ran(tmp_path, "-n", "1", "--no-loadscope-reorder")) == [
        "test_with_every_row", "test_with_every_row_too", "test_first", *[f"test_second[{each}]" for each in range(6)],
        "test_with_the_store", "test_alone", "test_of_the_same_file", "test_alone_too",
    ]  # fmt: skip


def test_one_process_keeps_the_order_of_the_files(tmp_path):
    assert in_order(ran(tmp_path))[:4] == ["test_alone", "test_of_the_same_file", "test_alone_too", "test_first"]


def test_ports_are_free_and_given_to_one_process_alone():
    program = "from tests.side_by_side import free_ports; print(*free_ports(1500))"
    given = []
    for worker in ("gw0", "gw1"):
        environment = {**os.environ, "PYTEST_XDIST_WORKER": worker}
        command = [sys.executable, "-c", program]
        shown = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
        given.append(set(map(int, shown.split())))
    assert len(given[0]) == len(given[1]) == 1500 and not given[0] & given[1]
    assert max(given[1]) < 32768  # from there on Linux takes ports for clients


def test_a_port_that_is_taken_is_not_given(monkeypatch):
    import socket

    from tests import side_by_side

    (port,) = free_ports(1)
    monkeypatch.setattr(side_by_side, "_next", iter([port, port + 1, port + 2, port + 3]).__next__)
    with socket.create_server(("127.0.0.1", port)):
        assert free_ports(1) != [port]
