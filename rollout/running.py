"""The running server for rollout, rollback and scale, and their changes to its record."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from serving.client import Client
from serving.config import Config
from serving.errors import RequestRefused, ServingError
from serving.model_folder import add
from serving.model_settings import Settings
from serving.recovery import outage
from serving.state import RunDirectory, State
from serving.store import STORE, checked
from serving.versions import version_of
from serving.worker_log import failure

Say = Callable[[str], Any]
READY_WITHIN_S = 600
DELAY_UNIT_US = 1  # the unit of batch delays in this project's front end, which changes of versions need


class Running:
    """One archive of the running server. Raises ServingError where no server runs or it does not serve that archive."""

    def __init__(
        self, name: str, run: RunDirectory | None = None, config: Config | None = None, replica: str = ""
    ) -> None:
        self.run, self.config = run or RunDirectory.default(), config or Config.load()
        state = running_state(self.run)
        if state is None:
            said = f"{replica} does not run; see: make status" if replica else ""
            raise ServingError(said or "TorchServe is not running; run: make serve")
        if state.engine != "torchserve":
            raise ServingError(f"This server is {state.title}, which rolls out and scales in its own way: docs/ray.md")
        if name not in state.archives:
            raise ServingError(f"The server has no archive {name}, only {', '.join(state.archives)}; see: make status")
        if "versions" not in state.front_end:
            raise ServingError(
                "The server was started by an earlier version of this project, or its TorchServe is not 0.12.0, so "
                "versions cannot be changed while it runs; run: make stop serve"
            )
        self.name, self.state, self.replica = name, state, replica
        self.client = Client(self.config, self.run.key_file)

    def version(self) -> str:
        """The default version: it answers the requests that name none."""
        return str(self.client.registration(self.name)["modelVersion"])

    def recover(self, say: Say) -> None:
        """Makes the store's version the default again, after a rollout that was killed."""
        stored, now = version_of(STORE / f"{self.name}.mar"), self.version()
        if stored != now and stored in self.client.versions(self.name):
            self.client.set_default(self.name, stored)
            say(f"a rollout that was killed had left {now} as the default; {stored} is the default again")

    def require_known(self) -> None:
        """Raises ServingError if the store's archive was built again since the start: a rollback could then not restore
        the version that ran before."""
        digest = checked(STORE, [self.name])[self.name]
        if digest != self.state.archives[self.name] or version_of(STORE / f"{self.name}.mar") != self.version():
            raise ServingError(
                f"{self.name}.mar in {STORE} is not the served archive: it was built again since the start; "
                "run: make stop serve"
            )

    def require_memory(self, servers: int) -> None:
        """Raises ServingError if the memory is too small for a second set of workers on each of ``servers`` servers."""
        cure = f"scale the old one down: make scale MODEL={self.name} WORKERS=1"
        _require_free(servers * sum(self._resident()), f"Both versions of {self.name} would run at once", cure)

    def require_memory_for_one(self) -> None:
        """Raises ServingError if the memory is too small for one more worker."""
        cure = "change models.toml and run: make stop serve"
        _require_free(max(self._resident(), default=0), f"One more worker of {self.name} would run for a while", cure)

    def _resident(self) -> list[int]:
        """The memory of each worker in bytes."""
        return [_resident(worker["pid"]) for worker in self.client.workers(self.name)]

    def require_mirror(self) -> None:
        """Raises ServingError for an earlier front end, which cannot copy requests."""
        if "mirror" not in self.state.front_end:
            raise ServingError(
                "The server was started by an earlier version of this project, which copies no requests: leave SHADOW "
                "out, or run: make stop serve"
            )

    def require_one_by_one(self) -> None:
        """Raises ServingError for an earlier front end, which cannot end a given worker."""
        if "end_worker" not in self.state.front_end:
            raise ServingError(
                "The server was started by an earlier version of this project, so the threads of its workers cannot be "
                "changed while it runs; change models.toml and run: make stop serve"
            )

    def offer(self, source: Path, version: str) -> str:
        """Puts a version's archive, with the settings of the served one, where the server may register it; returns the
        file's name."""
        add(source, self.file(version), self.state.settings.get(self.name, {}), DELAY_UNIT_US)
        return self.file(version).name

    def workers(self, version: str) -> list[dict[str, Any]]:
        """A version's workers as TorchServe describes them (id, status, pid, ...)."""
        found: list[dict[str, Any]] = self.client.versions(self.name).get(version, {"workers": []})["workers"]
        return found

    def await_ready(self, version: str, say: Say, only: Collection[str] | None = None) -> None:
        """Returns when all workers of a version are ready, or those with the ids ``only``. Raises ServingError with the
        first one's own error."""
        began, told = datetime.now() - timedelta(seconds=1), 0
        end = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < end:
            registered = self.client.versions(self.name).get(version, {"workers": [], "minWorkers": 0})
            wanted = max(1, registered["minWorkers"]) if only is None else len(only)
            workers = [each for each in registered["workers"] if only is None or each["id"] in only]
            ready = sum(worker["status"] == "READY" for worker in workers)
            if ready >= wanted and ready == len(workers):
                return
            if cause := self._cause(version, began, only):
                raise ServingError(f"a worker of {self.name} {version} could not load: {cause}")
            if not self.state.running():
                raise ServingError("TorchServe has ended; see: make logs")
            if ready > told:
                told = ready
                say(f"{ready} of {wanted} workers are ready")
            time.sleep(0.2)
        raise ServingError(f"no worker of {self.name} {version} is ready after {READY_WITHIN_S} s")

    def _cause(self, version: str, since: datetime, only: Collection[str] | None) -> str | None:
        if found := failure(self.run.model_log, self.name, since, version, only):
            return found
        ended = outage(self.run.logs / "ts_log.log", self.name, version, only)
        return (ended.reason or "its process ended") if ended and ended.since >= since else None

    def remove(self, version: str) -> None:
        """Ends a version that is not the default. Does nothing if there is none."""
        try:
            self.client.remove(self.name, version)
        except RequestRefused as refused:
            if refused.status != 404:
                raise
        self.file(version).unlink(missing_ok=True)

    def file(self, version: str) -> Path:
        """The archive in the folder that is served from, while a rollout registers it."""
        return self.run.models / f"rollout-{self.name}-{version}.mar"

    def settle(self, version: str, digest: str) -> None:
        """Keeps on record that this version is served now, for make serve and make status."""
        settings = self.state.settings.get(self.name, {})
        add(STORE / f"{self.name}.mar", self.run.models / f"{self.name}.mar", settings, DELAY_UNIT_US)
        self.file(version).unlink(missing_ok=True)
        self.state.archives[self.name] = digest
        self.run.write(self.state)

    def record(self, settings: Settings) -> None:
        """Keeps changed settings on record, and in the archive of the folder that is served from."""
        self.state.settings[self.name] = {**self.state.settings.get(self.name, {}), **settings}
        served = self.run.models / f"{self.name}.mar"
        add(served, served, self.state.settings[self.name], DELAY_UNIT_US)
        self.run.write(self.state)


def running_state(run: RunDirectory) -> State | None:
    """The record of a server that runs and is ready; else None."""
    state = run.read()
    return state if state and state.ready and state.running() else None


def _require_free(needed: int, why: str, cure: str) -> None:
    free = psutil.virtual_memory().available
    if needed > free:
        sizes = f"about {needed / 1e9:.1f} GB more, and {free / 1e9:.1f} GB are free"
        raise ServingError(f"{why}, which takes {sizes}; make room, or {cure}")


def _resident(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
