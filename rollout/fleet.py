"""All servers that answer for an archive: one alone, or the replicas behind a balancer. Each change is made to all."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from rollout.live import Seen, seen
from rollout.running import Running, Say, running_state
from serving.errors import ServingError
from serving.model_settings import Settings
from serving.plan import Plan
from serving.replicas import canary
from serving.replicas.canary import Canary
from serving.replicas.group import Group
from serving.replicas.start import balance
from serving.state import RunDirectory
from serving.store import STORE


class Fleet:
    """The servers of one archive. Raises ServingError where one does not run, or does not serve that archive."""

    def __init__(self, name: str) -> None:
        self.name, self.run = name, RunDirectory.default()
        self._group = Group.read(self.run)
        if self._group and running_state(self.run):
            self.servers = [Running(name, each.run, each.config, each.name) for each in self._group.replicas()]
        else:
            self.servers = [Running(name)]

    @property
    def first(self) -> Running:
        """The server to ask where one can speak for all."""
        return self.servers[0]

    def is_balanced(self) -> bool:
        """Whether this project's balancer is in front, which can split requests."""
        return self._group is not None

    def recover(self, say: Say) -> None:
        """Undoes the changes of a rollout that was killed, and replaces HAProxy if its config has changed since."""
        self.split(None)
        if self._group and (state := self.run.read()):
            balance(self._group, state, Plan(STORE, state.archives, state.foreign, state.settings))
        for server in self.servers:
            server.recover(say)

    def split(self, share: Canary | None) -> None:
        """Sends a share of the requests to another version; none with None."""
        if self._group and (state := self.run.read()):
            canary.split(state.temp, share, state.running())

    def seen(self, labels: dict[str, str]) -> Seen:
        """A version's answers to clients, on all servers together."""
        return sum((seen(server.config, labels) for server in self.servers), Seen(0, 0))

    def settle(self, version: str, digest: str) -> None:
        """Keeps on record that this version is served now."""
        for server in self.servers:
            server.settle(version, digest)
        if self._group and (state := self.run.read()):
            state.archives[self.name] = digest
            self.run.write(state)

    def record(self, settings: Settings) -> None:
        """Keeps changed settings on record."""
        for server in self.servers:
            server.record(settings)
        if self._group and (state := self.run.read()):
            state.settings[self.name] = {**state.settings.get(self.name, {}), **settings}
            self.run.write(state)

    def each(self, change: Callable[[Running], object]) -> None:
        """Makes a change to every server. Raises the last ServingError once all were tried."""
        failed: ServingError | None = None
        for server in self.servers:
            try:
                change(server)
            except ServingError as error:
                failed = error
        if failed:
            raise failed

    def undo(self, change: Callable[[Running], object]) -> None:
        """Makes a change to every server that still answers."""
        with suppress(ServingError):
            self.each(change)
