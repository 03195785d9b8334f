"""For people who know Locust: ``locust -f loadtest/locustfile.py --host http://127.0.0.1:8080``, web UI, CLI, workers.

Adds to Locust what archives need (token, payloads in rotation, checked answers) and, with --rows, a row per request in
microseconds, merged from all workers. Locust's users are a closed loop; for an open one use ``make loadtest RATE=50``.
"""

from __future__ import annotations

import itertools
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # Locust puts this file's own folder there

from locust import events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from loadtest import rows
from loadtest.errors import LoadTestError
from loadtest.rows import Row
from loadtest.target import CHECK_EVERY, Target, Token
from loadtest.users import ArchiveUser, Recorder
from serving.choice import words
from serving.state import RunDirectory

logger = logging.getLogger(__name__)


@events.init_command_line_parser.add_listener
def add_arguments(parser: LocustArgumentParser) -> None:
    """The options of ours, in Locust's --help and web UI."""
    parser.add_argument(
        "--archives", env_var="ARCHIVES", default="",
        help="Archives to ask, in turns, as in 'minilm-eager null'; default: all that this checkout's server serves",
    )  # fmt: skip
    parser.add_argument("--check-every", type=int, default=CHECK_EVERY, help="Compare every n-th answer; 0 for none")
    parser.add_argument("--rows", default="", help="Write one row per request to this .csv.gz", include_in_web_ui=False)


class ServedUser(ArchiveUser):
    """Asks one archive, each new user the next one."""

    turn: Iterator[Target] = iter(())

    def __init__(self, environment: Environment) -> None:
        self.target = next(self.turn)
        super().__init__(environment)

    @task
    def predict(self) -> None:
        """One request."""
        self.ask()


@events.init.add_listener
def on_init(environment: Environment, **_: Any) -> None:
    """Every process that sends records; the master gathers."""
    gathered: list[Row] = []
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


def _hand_over(gathered: list[Row], data: dict[str, Any]) -> None:
    """Moves the rows into the report to the master: each is sent once."""
    data["rows"] = [rows.to_list(row) for row in gathered]
    gathered.clear()


def _write(environment: Environment, gathered: list[Row]) -> None:
    if path := environment.parsed_options.rows:
        rows.write(Path(path), rows.merge([gathered]))
        logger.info("Wrote %d rows to %s", len(gathered), path)


@events.test_start.add_listener
def on_test_start(environment: Environment, **_: Any) -> None:
    """Learns the golden answers before the first user starts."""
    if isinstance(environment.runner, MasterRunner):
        return
    try:
        ServedUser.turn = itertools.cycle(_targets(environment))
    except LoadTestError as error:
        logger.error("%s", error)
        environment.process_exit_code = 2
        environment.runner.quit()


def _targets(environment: Environment) -> list[Target]:
    options, token = environment.parsed_options, Token.from_environment()
    state = RunDirectory.default().read()
    names = words(options.archives) or ([name for name in state.archives if name not in state.foreign] if state else [])
    if not names:
        raise LoadTestError("No archive is named and none served from here: give --archives, or run make serve first.")
    if not environment.host:
        raise LoadTestError("No host is given; add --host and the server's address.")
    targets = [Target(environment.host.rstrip("/"), name, token) for name in names]
    for target in targets:
        target.check_every = options.check_every
        target.golden = target.record_golden() if options.check_every else None
    return targets
