"""The keeper: a process beside the replicas. It starts again the processes that end, until ``make stop`` ends it.

A replica that ends gets no requests from HAProxy until it is warm again. If it does not start, the keeper tries again
after a pause that grows to a minute. The keeper also starts HAProxy again, and replaces tokens that expire.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import traceback
from contextlib import suppress
from datetime import datetime

import psutil

from serving.errors import ServingError
from serving.replicas import certificate, haproxy
from serving.replicas.group import Group, Replica
from serving.replicas.outage import Outage
from serving.replicas.runtime import MAINT, UP, Runtime
from serving.replicas.start import plan_on_record, start_again
from serving.start_lock import holder, starting
from serving.state import RunDirectory, State
from serving.store import STORE, checked

EVERY_S = 0.5
LONGEST_S = 60.0
KEEPER = "the keeper of the replicas"
FAULTS = (ServingError, OSError, psutil.Error, subprocess.SubprocessError)


def say(text: str) -> None:
    """Writes a line to the keeper's log."""
    print(f"{datetime.now():%Y-%m-%d %H:%M:%S} {text}", flush=True)


class Keeper:
    """Watches over the start whose temporary folder is ``temp``; another start has its own keeper."""

    def __init__(self, group: Group, temp: str) -> None:
        self._group, self._temp = group, temp

    def state(self) -> State | None:
        """The record of that start; None once it was stopped."""
        state = self._group.run.read()
        return state if state and state.temp == self._temp else None

    def run(self) -> None:
        """Returns when the start is no longer on record."""
        for replica in self._group.replicas():
            threading.Thread(target=self._watch, args=(replica,), daemon=True).start()
        while self.state() is not None:
            try:
                self._group.tokens().refresh()
                self._renew_certificate()
                self._keep_balancer()
            except FAULTS as error:
                say(str(error))
            time.sleep(EVERY_S)

    def _renew_certificate(self) -> None:
        """Loads the user's certificate once it was replaced. Between the replacement of its two files, the old one
        stays."""
        asked, file = self._group.asked, haproxy.certificate_file(self._group.run)
        if not (asked.certificate and asked.key):
            return
        with suppress(ServingError):
            text = certificate.joined(asked.certificate, asked.key)
            if text != file.read_text():
                Runtime(self._temp).show_certificate(file, text)
                certificate.write(text, file)
                say("HAProxy shows the new certificate")

    def _keep_balancer(self) -> None:
        """Starts HAProxy again. A restart that replaces HAProxy holds the lock meanwhile. The record is read after the
        lock: an earlier one may name a HAProxy that was replaced."""
        if holder(self._group.run.lock) or (state := self.state()) is None or state.running():
            return
        say("HAProxy has ended; it is started again")
        state.pid = haproxy.launch(self._group.run, self._temp)
        self._group.run.write(state)

    def _watch(self, replica: Replica) -> None:
        while self.state() is not None:
            try:
                self._look(replica)
            except FAULTS as error:
                say(f"{replica.name}: {error}")
            except Exception:  # a bug of ours must not leave a replica without its keeper
                traceback.print_exc()
            time.sleep(EVERY_S)

    def _look(self, replica: Replica) -> None:
        outage = Outage.read(replica.run)
        if runs(replica):
            outage.end()
        elif not holder(replica.run.lock) and outage.is_due():
            outage.begin()
            with starting(replica.run.lock, say, KEEPER):
                if not runs(replica):
                    self._start(replica, outage)

    def _start(self, replica: Replica, outage: Outage) -> None:
        say(f"{replica.name} has ended; it is started again")
        runtime, state = Runtime(self._temp), self.state()
        if state is None:
            return
        with suppress(ServingError):  # HAProxy's own check finds that too
            runtime.put(replica.name, MAINT)
        try:
            plan = plan_on_record(STORE, state, checked(STORE, list(state.archives)))
            start_again(replica, plan, lambda text: None)
        except FAULTS as error:
            outage.fail(str(error), LONGEST_S)
            say(f"{replica.name} does not start: {error}; tried again in {outage.pause_s:g} s")
            return
        runtime.put(replica.name, UP)
        outage.end()
        say(f"{replica.name} is warm and takes requests again")


def runs(replica: Replica) -> bool:
    """Whether the replica's Java runs and was ready once."""
    state = replica.run.read()
    return bool(state and state.ready and state.running())


def main() -> int:
    """Watches over the replicas of $RUN_DIR."""
    run = RunDirectory.default()
    group, state = Group.read(run), run.read()
    if group is None or state is None:
        print("No replicas run; run: make serve REPLICAS=2", file=sys.stderr)
        return 1
    Keeper(group, state.temp).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
