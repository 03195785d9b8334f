"""The server under test: a fresh server per visit, or one that runs already.

Knows how to get a server, and reads the descriptions of its archives. serving/ starts and stops servers.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from export import catalog
from export.catalog import Row
from loadtest.errors import LoadTestError
from loadtest.load.cores import Split, on
from loadtest.load.target import Target, Token, model_of, named
from loadtest.measure.record import Archive
from serving import server
from serving.client import Client
from serving.config import Config
from serving.errors import ServingError
from serving.grpc_stubs import stubs
from serving.model_settings import ModelSettings
from serving.plan import Plan
from serving.replicas.group import Group
from serving.start_lock import starting
from serving.state import RunDirectory, State
from serving.store import STORE, checked
from serving.warm_up import warm_up

NULL = "null"


class ServerRunsError(ServingError):
    """A server runs already, so that none can be started."""


@dataclass(frozen=True)
class Server:
    """A server that answers at ``host``. ``client`` and ``state`` are None for a server that was started elsewhere."""

    host: str
    token: Token
    digests: dict[str, str]
    client: Client | None = None
    state: State | None = None

    def target(self, name: str, protocol: str = "http") -> Target:
        """The archive of that name as a target, over "http" or "grpc". Raises LoadTestError."""
        grpc = grpc_address(self.host) if protocol == "grpc" else ""
        return Target(self.host, name, self.token, model=model_of(name, self.client), grpc=grpc)

    def describe(self, row: Row) -> Archive:
        """The archive's own description, if its server allows to ask for it."""
        own = (self.client.describe(row.name).get("customizedMetadata") or {}) if self.client else {}
        return Archive(
            row.name,
            row.model.name,
            row.variant.name,
            own.get("device") or "unknown",
            self.digests.get(row.name),
            own.get("parity"),
            own.get("random_weights"),
            self.state.settings.get(row.name) if self.state else None,
        )

    def rss(self) -> int:
        """Resident bytes (RSS) of all processes of the server. A shared page counts for each process."""
        return self._sum(lambda process: process.memory_info().rss)

    def pss(self) -> int:
        """Resident bytes (PSS) of all processes of the server. A shared page counts once."""
        return self._sum(lambda process: process.memory_full_info().pss)

    def _sum(self, size: Callable[[psutil.Process], int]) -> int:
        total = 0
        for process in self.state.processes() if self.state else ():
            try:
                total += size(process)
            except psutil.Error:  # it ended meanwhile
                continue
        return total


def grpc_address(host: str) -> str:
    """host:port of the gRPC inference API on the machine of ``host``, with the port of config.properties.

    Raises LoadTestError, also if the stubs cannot be generated.
    """
    parts = urlsplit(host)
    if parts.scheme != "http":
        raise LoadTestError(f"gRPC is asked without TLS, and {host} has it; measure it over HTTP, without PROTOCOL.")
    try:
        stubs()  # generates the stubs now, not when the first user needs them
    except ServingError as error:
        raise LoadTestError(str(error)) from None
    ports = {key: port for port, key in Config.load().ports().items()}
    return f"{parts.hostname}:{ports['grpc_inference_port']}"


@contextmanager
def fresh(
    names: Sequence[str], split: Split, store: Path = STORE, table: ModelSettings | None = None
) -> Iterator[Server]:
    """A TorchServe with exactly these archives, ready and warm. It is stopped at once at the end, since it gets no
    more requests. ``table`` has the archives' settings, in place of those of models.toml. Raises ServingError."""
    run, config = RunDirectory.default(), Config.load()
    run.create()
    client = Client(config, run.key_file)
    with ExitStack() as stack:
        with starting(run.lock, lambda text: print(text, file=sys.stderr, flush=True)):
            if (state := run.read()) and state.running():
                raise ServerRunsError(
                    "TorchServe runs already and a load test starts its own; run make stop, or measure it with HOST="
                )
            server.stop(run)  # files that a crash may have left
            with on(split.server):  # the default number of workers follows from the cores of the server
                plan = Plan.of(store, chosen(names, store), table)
            for notice in plan.notices if table is None else ():
                print(notice, file=sys.stderr, flush=True)
            stack.callback(server.stop, run, at_once=True)
            with on(split.server):
                state = server.start(config, run, plan)
            server.wait_until_ready(state, run, client)
            warm_up(client, names)
        yield Server(config.inference, Token(client.token), plan.archives, client, state)


def chosen(names: Sequence[str], store: Path = STORE) -> dict[str, str]:
    """{name: sha256} of these archives. Raises ServingError if one is missing or differs from the built one."""
    if missing := [name for name in names if not (store / f"{name}.mar").exists()]:
        rows = [each for each in map(named, missing) if each]
        models = " ".join(sorted({model.name for model, _ in rows}))
        variants = " ".join(sorted({variant for _, variant in rows if variant}))
        # With VARIANTS, since make archive without it builds the variants that models.toml chooses.
        cure = f'make archive MODELS="{models}"' + (f' VARIANTS="{variants}"' if variants else "")
        raise ServingError(f"{store.name} lacks {', '.join(missing)}; run: {cure}")
    return checked(store, names)


def given() -> str:
    """HOST, by default "". Raises LoadTestError if it is not an address."""
    host = os.environ.get("HOST", "")
    if "@" in host:  # the report prints HOST, so this message does not
        raise LoadTestError("HOST has a user name or a password, which nothing reads; leave it out and give TOKEN=")
    if host and not re.fullmatch(r"https?://[^\s/]+/?", host):
        raise LoadTestError(f"HOST={host} is no address; write it as in HOST=http://127.0.0.1:8080")
    return host


@contextmanager
def running(host: str) -> Iterator[Server]:
    """The server at ``host``. If it is this checkout's server, without replicas, its management API is available
    too."""
    config, run = Config.load(), RunDirectory.default()
    state = None if Group.read(run) else run.read()
    ours = state is not None and state.running() and host.rstrip("/") == config.inference
    client = Client(config, run.key_file) if ours else None
    yield Server(
        host.rstrip("/"),
        Token.from_environment(),
        state.archives if ours and state else {},
        client,
        state if ours else None,
    )


def device(variants: Sequence[str]) -> str:
    """DEVICE, else the device that a variant needs. The measured archives were built before, for that device."""
    wanted = {row.device for name in variants for row in catalog.variant(name)} - {"any"}
    given = os.environ.get("DEVICE") or "auto"
    if given != "auto":
        return catalog.DEVICE_SYNONYMS.get(given, given)
    return wanted.pop() if len(wanted) == 1 else "cpu"
