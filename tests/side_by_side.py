"""A plugin of pytest for several processes that run the tests (pytest-xdist): what they share, and which tests keep
together.

``make test`` starts two. A process takes a group of tests at a time. A new file needs nothing: it is a group of its
own, so that its fixtures are made once. Tests that share the server of every row are one group. Tests that the marker
``alone`` names, those that compare times, run while no other process runs a test; their fixtures are made beside other
tests. Without ``-n`` this does nothing.
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

TURN = pytest.StashKey[ExitStack]()  # what a running test holds
LOCKS = Path(__file__).resolve().parent.parent / ".cache" / "locks"
GROUPS = "groups"  # the key of a worker's input: the file in which it writes down the group of each test
# Below the ports that Linux gives to clients (32768 and above), so that no connection takes one before its server does.
FIRST_PORT, PORTS_EACH, PROCESSES = 12000, 2500, 8


# Which tests keep together, and the order of the groups.


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a worker: brings the tests into the order in which their groups are handed out.

    First the group that takes longest, since it waits for all archives. Beside it run the tests that need no archive
    or only ``null``; then those that need the others. Files with a test that runs alone are last, when both processes
    have short tests: one waits for the other's.
    """
    if file := getattr(config, "workerinput", {}).get(GROUPS):
        last = {_file(item) for item in items if item.get_closest_marker("alone")}
        items.sort(key=lambda item: _place(item, last))
        _write(Path(file), {item.nodeid: _group(item) for item in items})


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """In the process that hands out the tests: tells a worker where to write down the groups."""
    node.workerinput[GROUPS] = str(_file_of_groups())


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hands out the groups that the workers wrote down. xdist's own groups do not work with pytest 9.2: it marks a test
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
    """The file of the test; in one where only some need the store, those are a group of their own."""
    return item.nodeid.partition("::")[0] + (" with the store" if _needs_store(item) else "")


def _needs_store(item: pytest.Item) -> bool:
    """Whether it takes conftest's ``store``, and with it ``null_store``; some files have a fixture of the same name."""
    return {"store", "null_store"} <= set(_fixtures(item))


def _fixtures(item: pytest.Item) -> Sequence[str]:
    return getattr(item, "fixturenames", ())


# What one process does at a time.


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Shares the time with the other processes' tests, from the first fixture to the last."""
    if not hasattr(item.config, "workerinput"):
        return (yield)
    with ExitStack() as turn:
        item.stash[TURN] = turn
        _wait(turn, fcntl.LOCK_SH)
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Waits until an ``alone`` test has the time for itself. Its fixtures, which start servers, share it."""
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
    with _locked("next test", fcntl.LOCK_EX):  # whoever waits to be alone is not overtaken
        turn.enter_context(_locked("tests", kind))


@contextmanager
def one_at_a_time(name: str) -> Iterator[None]:
    """What one process of this checkout's tests does at a time; the others wait. Not to be nested."""
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
            fcntl.flock(file, fcntl.LOCK_UN)  # also where a process forked meanwhile still has the file open


# Ports.


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at this moment, and that no other process of the tests is given."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as probe:
            port = _next()
            if not _refused(probe, port):
                found.append(port)
    return found


def _ports() -> Iterator[int]:
    """This process's ports again and again, from one that depends on its pid on: two runs rarely meet."""
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
