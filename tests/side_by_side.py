"""A plugin of pytest for several processes that run the tests (pytest-xdist): groups of tests, locks and ports.

``make test`` starts three processes. They keep two cores busy, since tests often wait for a server. A process takes a
group of tests at a time. Each file is a group, so that its fixtures are made once. Tests that share the server of every
row are one group. Tests with the marker ``alone``, which compare times, run while no other process runs a test; their
fixtures may run beside other tests. Without ``-n`` this plugin does nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

TURN = pytest.StashKey[ExitStack]()  # the lock of a running test
LOCKS = Path(__file__).resolve().parent.parent / ".cache" / "locks"
GROUPS = "groups"  # the key of a worker's input: the file to which it writes the group of each test
# Below the ports that Linux gives to clients (32768 and above), so that no connection takes a port before its server.
FIRST_PORT, PORTS_EACH, PROCESSES = 12000, 2500, 8


# The groups of tests, and their order.


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a worker: sorts the tests by the order of their groups.

    The first group takes longest, since it waits for all archives. Beside it run the tests that need no archive or only
    ``null``, then those that need the others. Files with a test that runs alone come last. All processes then have
    short tests, so none waits long for the others.
    """
    if file := getattr(config, "workerinput", {}).get(GROUPS):
        last = {_file(item) for item in items if item.get_closest_marker("alone")}
        items.sort(key=lambda item: _place(item, last))
        _write(Path(file), {item.nodeid: _group(item) for item in items})


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """In the process that distributes the tests: passes a worker the file for its groups."""
    node.workerinput[GROUPS] = str(_file_of_groups())


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Distributes the groups that the workers wrote. xdist's own groups do not work with pytest 9.2: it marks a test
    with its group in a field that pytest no longer reads."""
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):  # type: ignore[misc]
        groups: dict[str, str]

        def schedule(self) -> None:
            self.groups = json.loads(_file_of_groups().read_text())
            super().schedule()

        def _split_scope(self, nodeid: str) -> str:
            return self.groups[nodeid]

    return Groups(config, log)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Removes the file of the groups."""
    if not hasattr(config, "workerinput"):
        _file_of_groups().unlink(missing_ok=True)


def _file_of_groups() -> Path:
    return LOCKS / f"groups-{os.getpid()}.json"


def _write(path: Path, groups: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(f".{os.getpid()}")
    aside.write_text(json.dumps(groups))
    aside.replace(path)


def _group(item: pytest.Item) -> str:
    return "every row" if "every_row" in _fixtures(item) else _file(item)


def _place(item: pytest.Item, last: set[str]) -> int:
    if "every_row" in _fixtures(item):
        return 0
    if _file(item) in last:
        return 3
    return 2 if _needs_store(item) else 1


def _file(item: pytest.Item) -> str:
    """The file of the test. If only some tests of a file need the store, these are a separate group."""
    return item.nodeid.partition("::")[0] + (" with the store" if _needs_store(item) else "")


def _needs_store(item: pytest.Item) -> bool:
    """Whether the test takes conftest's ``store``, and so ``null_store``. Some files have their own fixture
    ``store``."""
    return {"store", "null_store"} <= set(_fixtures(item))


def _fixtures(item: pytest.Item) -> Sequence[str]:
    return getattr(item, "fixturenames", ())


# Locks between the processes.


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Holds the shared lock of the tests, from the first fixture to the last."""
    if not hasattr(item.config, "workerinput"):
        return (yield)
    with ExitStack() as turn:
        item.stash[TURN] = turn
        _wait(turn, fcntl.LOCK_SH)
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """An ``alone`` test waits until no other test runs. Its fixtures, which start servers, run beside other tests."""
    turn = item.stash.get(TURN, None)
    if turn is None or not item.get_closest_marker("alone"):
        return (yield)
    turn.close()
    _wait(turn, fcntl.LOCK_EX)
    try:
        return (yield)
    finally:
        turn.close()
        _wait(turn, fcntl.LOCK_SH)


def _wait(turn: ExitStack, kind: int) -> None:
    with _locked("next test", fcntl.LOCK_EX):  # no test overtakes one that waits to be alone
        turn.enter_context(_locked("tests", kind))


@contextmanager
def one_at_a_time(name: str) -> Iterator[None]:
    """A block that one process of this checkout's tests runs at a time. Not to be nested."""
    with _locked(name, fcntl.LOCK_EX):
        yield


@contextmanager
def _locked(name: str, kind: int) -> Iterator[None]:
    LOCKS.mkdir(parents=True, exist_ok=True)
    with (LOCKS / name).open("w") as file:
        fcntl.flock(file, kind)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # works also if a forked process still has the file open


# Ports.


def free_ports(count: int) -> list[int]:
    """Ports that are free at this moment, and that no other process of the tests gets."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as probe:
            port = _next()
            if not _refused(probe, port):
                found.append(port)
    return found


def _ports() -> Iterator[int]:
    """The ports of this process, in a cycle whose start depends on the pid, so that two runs rarely use the same."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % PROCESSES
    first, at = FIRST_PORT + number * PORTS_EACH, os.getpid() * 101 % PORTS_EACH
    while True:
        yield first + at
        at = (at + 1) % PORTS_EACH


_next: Callable[[], int] = _ports().__next__


def _refused(probe: socket.socket, port: int) -> bool:
    try:
        probe.bind(("127.0.0.1", port))
    except OSError:
        return True
    return False
