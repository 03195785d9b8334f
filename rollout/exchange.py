"""Replaces the served version of an archive by another while requests go on.

The new version is registered beside the old one, which goes on answering. It must load, answer its own example, answer
the requests of questions.py like the old one, and be as fast. Then it becomes the default. watching.py checks the
answers to clients. Within the bounds, the new version stays and the store is changed. Until the old version is removed,
each failure restores it.
"""

from __future__ import annotations

from pathlib import Path

from rollout.asked import Bounds
from rollout.fleet import Fleet
from rollout.latency import measure
from rollout.questions import Questions
from rollout.running import Running, Say
from rollout.shadow import Shadow
from rollout.watching import Labels, Refused, Watch
from serving.errors import ServingError
from serving.identity import identity
from serving.replicas.canary import Canary
from serving.store import STORE, checked
from serving.versions import folder_of, held, replaced
from serving.warm_up import warm_up


class Exchange:
    """One exchange of the archive's version. ``bounds`` is None for a rollback, which compares nothing: it has to be
    quick, and the served version may be the faulty one."""

    def __init__(self, fleet: Fleet, new: str, bounds: Bounds | None, say: Say) -> None:
        self._fleet, self.server, self._bounds, self._say = fleet, fleet.first, bounds, say
        self.name, self.old, self.new = fleet.name, self.server.version(), new
        self._archive = self._find()
        self._shifted = self._kept = False
        if bounds and bounds.canary and not fleet.is_balanced():
            raise ServingError(
                f"CANARY={bounds.canary:g} needs a balancer, which splits the requests; leave it out, or run once: "
                "make stop serve REPLICAS=2"
            )

    def _find(self) -> Path:
        """The new version's archive. Raises ServingError where there is none, or it is served already."""
        if self.new == self.old:
            raise ServingError(f"{self.name} {self.new} is served already.")
        if self.name in self.server.state.foreign:
            raise ServingError(
                f"{self.name}.mar was not built by this project: no request for it is known, so its versions cannot be "
                "compared. Put the new one into the store, then run: make stop serve"
            )
        versions = held(STORE, self.name)
        path = folder_of(STORE, self.new) / f"{self.name}.mar"
        if not path.exists():
            known = ", ".join(versions) or "none"
            raise ServingError(
                f"{STORE} has no version {self.new} of {self.name} (it has: {known}); "
                f"run: {_build(versions, self.name)} VERSION={self.new}"
            )
        return path

    def run(self) -> None:
        """Exchanges the versions. Raises ServingError, after which the old version is served as before."""
        self._fleet.each(Running.require_known)
        if self._bounds and self._bounds.shadow_s:
            self._fleet.each(Running.require_mirror)
        digest = checked(self._archive.parent, [self.name])[self.name]  # SHA-256, and its signature with STORE_KEY
        self._fleet.each(self._clear_leftovers)
        self.server.require_memory(len(self._fleet.servers))
        try:
            self._fleet.each(self._register)
            self._say(f"{self.new} is loaded and warm")
            watch = self._prepare(self._bounds) if self._bounds else None
            if watch and self._bounds and self._bounds.canary:
                self._try_on_some(watch, self._bounds.canary)
            self._shift(watch)
            replaced(STORE, self.name, self.new, back=self._bounds is None)
            self._kept = True
            self._fleet.settle(self.new, digest)
        except BaseException:
            self._go_back()
            raise
        self._end_old()

    def _clear_leftovers(self, server: Running) -> None:
        for version in server.client.versions(self.name):
            if version != self.old:
                server.remove(version)
                self._say(f"{version} is removed; an interrupted rollout had registered it")

    def _register(self, server: Running) -> None:
        where = f" on {server.replica}" if server.replica else ""
        self._say(f"{self.new} is being loaded{where}; {self.old} goes on answering")
        stated = server.client.register(self.name, server.offer(self._archive, self.new))
        if stated != self.new:
            raise Refused(f"the archive says that it is version {stated}")
        server.await_ready(self.new, self._say)
        warm_up(server.client, [f"{self.name}/{self.new}"])

    def _prepare(self, bounds: Bounds) -> Watch:
        """Compares the versions before the new one answers any client. Returns the watch for the time after that."""
        questions = self._compare(bounds)
        if bounds.shadow_s:
            Shadow(self._fleet, self.new, questions.agree, bounds, self._say).run()
        watch = Watch(self._fleet, self._labels, self.new, bounds, self._say)
        watch.learn(self.old)
        return watch

    def _compare(self, bounds: Bounds) -> Questions:
        client, old, new = self.server.client, f"{self.name}/{self.old}", f"{self.name}/{self.new}"
        questions = Questions(self.name, client.describe(new))
        compared = questions.compare(client, old, new)
        self._say(str(compared))
        if compared.unexpected:
            raise Refused(f"its own example is answered {compared.unexpected}")
        if compared.percent > bounds.different:
            raise Refused(
                f"{compared}; MAX_DIFFERENT={bounds.different:g} percent is allowed, and "
                f"MAX_DIFFERENT={_enough(compared.percent)} would accept it"
            )
        speeds = measure(client, old, new, questions.all, bounds.requests)
        self._say(str(speeds))
        if speeds.is_slower(bounds.p99_ratio):
            raise Refused(f"its {speeds}; MAX_P99_RATIO={bounds.p99_ratio:g} is allowed")
        return questions

    def _try_on_some(self, watch: Watch, canary: float) -> None:
        """Lets the new version answer CANARY percent of the requests for a while."""
        before = watch.now(self.new)
        self._fleet.split(Canary(self.name, self.new, canary))
        self._say(f"{self.new} answers {canary:g} % of the requests, {self.old} the others")
        watch.watch(before)
        self._fleet.split(None)

    def _shift(self, watch: Watch | None) -> None:
        before = watch.now(self.new) if watch else None
        self._shifted = True
        self._fleet.each(lambda server: server.client.set_default(self.name, self.new))
        self._say(f"{self.new} answers from now on; {self.old} waits beside it")
        if watch and before:
            watch.watch(before)
            watch.require_answers(before)

    def _labels(self, version: str) -> Labels:
        found = identity(self._archive)
        return {"model": found.model, "variant": found.variant, "version": version}

    def _go_back(self) -> None:
        """Leaves the old version as the default, and nothing of the new one."""
        if self._kept:  # the exchange is done; only its record failed
            return
        self._fleet.split(None)  # first, since a removed version answers nobody
        if self._shifted:
            self._fleet.undo(lambda server: server.client.set_default(self.name, self.old))
        self._fleet.undo(lambda server: server.remove(self.new))

    def served(self) -> str:
        """The version that answers after the exchange, however it ended."""
        return self.new if self._kept else self.old

    def _end_old(self) -> None:
        try:
            self._fleet.each(lambda server: server.remove(self.old))
        except ServingError as error:  # it is no longer the default, and ends with the server
            self._say(f"{self.old} does not end yet ({error}); the next rollout removes it, or make stop")
            return
        self._say(f"{self.old} has answered all its requests, and is removed")


def _build(versions: dict[str, Path], name: str) -> str:
    for path in versions.values():
        found = identity(path)
        return f"make archive MODELS={found.model}" + (f" VARIANTS={found.variant}" if found.variant else "")
    return f"make archive MODELS={name}"


def _enough(percent: float) -> int:
    return -int(-percent // 1)
