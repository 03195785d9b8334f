"""For users of Locust's own command: ``locust -f loadtest/locustfile.py --host http://127.0.0.1:8080``.

Locust's web UI, command line and workers are available. This file adds a token, payloads in rotation and checked
answers. With --rows, it adds a row per request in microseconds, merged from all workers. Locust's users are a closed
loop; for an open loop use ``make loadtest RATE=50``.
"""

from __future__ import annotations

import itertools
import logging
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # Locust puts this file's own folder there

from locust import events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner
from locust.stats import RequestStats, StatsEntry

from loadtest.errors import LoadTestError
from loadtest.load import rows
from loadtest.load.rows import RequestRow
from loadtest.load.target import CHECK_EVERY, Target, Token
from loadtest.load.users import ArchiveUser, Recorder
from loadtest.measure.profile import PROTOCOLS
from loadtest.measure.servers import grpc_address
from serving.choice import words
from serving.state import RunDirectory

logger = logging.getLogger(__name__)


@events.init_command_line_parser.add_listener
def add_arguments(parser: LocustArgumentParser) -> None:
    """Adds our options to Locust's --help and web UI."""
    parser.add_argument(
        "--archives", env_var="ARCHIVES", default="",
        help="Archives to ask, in turns, as in 'minilm-eager null'; default: all that this checkout's server serves",
    )  # fmt: skip
    parser.add_argument(
        "--protocol", choices=PROTOCOLS, default="http", env_var="PROTOCOL",
        help="Over grpc, the port is the one of config.properties, on the machine that --host names",
    )  # fmt: skip
    parser.add_argument("--check-every", type=int, default=CHECK_EVERY, help="Compare every n-th answer; 0 for none")
    parser.add_argument("--rows", default="", help="Write one row per request to this .csv.gz", include_in_web_ui=False)


class ServedUser(ArchiveUser):
    """A user that sends requests to one archive. Each new user takes the next archive."""

    turn: Iterator[Target] = iter(())
    apart: frozenset[str] = frozenset()  # archives that Locust's aggregate leaves out

    def __init__(self, environment: Environment) -> None:
        self.target = next(self.turn)
        super().__init__(environment)

    @task
    def predict(self) -> None:
        """One request."""
        self.ask()


@events.init.add_listener
def on_init(environment: Environment, **_: Any) -> None:
    """Every process that sends requests records rows. The master collects them."""
    keep_apart(environment.stats)
    gathered: list[RequestRow] = []
    if isinstance(environment.runner, MasterRunner):
        environment.events.worker_report.add_listener(
            lambda client_id, data: gathered.extend(map(rows.from_list, data.get("rows", ())))
        )
    else:
        gathered = Recorder(environment).rows
    if isinstance(environment.runner, WorkerRunner):
        environment.events.report_to_master.add_listener(lambda client_id, data: _hand_over(gathered, data))
    else:
        environment.events.quit.add_listener(lambda exit_code: _write(environment, gathered))


def keep_apart(stats: RequestStats) -> None:
    """Leaves the archives of ServedUser.apart out of "Aggregated", and so out of the charts and the final figures.

    ``null`` answers in under a millisecond, so an aggregate of it and of models would describe neither.
    Locust's listeners hold a reference to this object, so an object of another class cannot replace it.
    """
    aside = StatsEntry(stats, "apart", "")

    def apart(log: Callable[..., None]) -> Callable[..., None]:
        def logged(method: str, name: str, *rest: Any) -> None:
            if name not in ServedUser.apart:
                return log(method, name, *rest)
            total, stats.total = stats.total, aside
            try:
                log(method, name, *rest)
            finally:
                stats.total = total

        return logged

    stats.log_request = apart(stats.log_request)  # type: ignore[method-assign]  # of this very object, as said above
    stats.log_error = apart(stats.log_error)  # type: ignore[method-assign]


def _hand_over(gathered: list[RequestRow], data: dict[str, Any]) -> None:
    """Moves the rows into the report to the master, so that each row is sent once."""
    data["rows"] = [rows.to_list(row) for row in gathered]
    gathered.clear()


def _write(environment: Environment, gathered: list[RequestRow]) -> None:
    if path := _options(environment).rows:
        rows.write(Path(path), rows.merge([gathered]))
        logger.info("Wrote %d rows to %s", len(gathered), path)


@events.test_start.add_listener
def on_test_start(environment: Environment, **_: Any) -> None:
    """Records the golden answers before the first user starts."""
    if isinstance(environment.runner, MasterRunner):
        return
    try:
        targets = _targets(environment)
        ServedUser.turn, ServedUser.apart = itertools.cycle(targets), floors(targets)
    except LoadTestError as error:
        logger.error("%s", error)
        environment.process_exit_code = 2
        assert environment.runner is not None  # it called this
        environment.runner.quit()


def floors(targets: list[Target]) -> frozenset[str]:
    """The archives without a model, if archives with a model are measured too."""
    empty = {target.archive for target in targets if target.model and target.model.task == "null"}
    return frozenset(empty) if len(empty) < len(targets) else frozenset()


def _options(environment: Environment) -> Namespace:
    found: Namespace | None = environment.parsed_options
    assert found is not None  # Locust parses them before its first event
    return found


def _targets(environment: Environment) -> list[Target]:
    options, token = _options(environment), Token.from_environment()
    state = RunDirectory.default().read()
    names = words(options.archives) or ([name for name in state.archives if name not in state.foreign] if state else [])
    if not names:
        raise LoadTestError("No archive is named and none served from here: give --archives, or run make serve first.")
    if not environment.host:
        raise LoadTestError("No host is given; add --host and the server's address.")
    host = environment.host.rstrip("/")
    grpc = grpc_address(host) if options.protocol == "grpc" else ""
    targets = [Target(host, name, token, grpc=grpc) for name in names]
    for target in targets:
        target.check_every = options.check_every
        target.golden = target.record_golden() if options.check_every else None
    return targets
