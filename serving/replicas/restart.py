"""make restart: restarts one replica after the other, with the present store, models.toml and config.properties, while
the others answer."""

from __future__ import annotations

from serving.errors import ServingError
from serving.plan import Plan
from serving.replicas import canary
from serving.replicas.group import Group, Replica
from serving.replicas.runtime import DRAIN, MAINT, UP, Runtime
from serving.replicas.start import Say, balance, start_again
from serving.start_lock import RESTART, starting
from serving.state import State

DRAIN_S = 300.0  # requests that take longer are cut off, as by make stop


def restart(group: Group, state: State, plan: Plan, say: Say) -> None:
    """Returns when all replicas have restarted. The caller holds the lock of the group. Raises ServingError if one does
    not start: the others go on, and the keeper tries again."""
    if group.asked.replicas < 2:
        raise ServingError("One replica cannot restart without an interruption; run: make stop serve REPLICAS=2")
    runtime = Runtime(state.temp)
    canary.split(state.temp, None, running=True)  # of a rollout that was killed: no replica will have that version
    for replica in group.replicas():
        _roll(replica, runtime, plan, say)
        # From now on the keeper starts replicas with this plan too.
        state.archives, state.foreign, state.settings = dict(plan.archives), list(plan.foreign), dict(plan.settings)
        group.run.write(state)
    if balance(group, state, plan):
        say("HAProxy has taken over its new config")


def _roll(replica: Replica, runtime: Runtime, plan: Plan, say: Say) -> None:
    others = [name for name, status in runtime.states().items() if status == "UP" and name != replica.name]
    if not others:
        raise ServingError(f"{replica.name} is the only one that takes requests, so it stays; see: make status")
    with starting(replica.run.lock, say, RESTART):
        runtime.put(replica.name, DRAIN)
        if not runtime.await_quiet(replica.name, DRAIN_S):
            say(f"{replica.name} still has requests after {DRAIN_S:g} s; they are cut off")
        runtime.put(replica.name, MAINT)
        say(f"{replica.name} has answered all its requests; it is restarted")
        try:
            start_again(replica, plan, lambda text: None)
        except ServingError as error:
            raise ServingError(
                f"{replica.name} does not start: {error}. The others ({', '.join(others)}) go on; correct the error, "
                "then run: make restart"
            ) from None
        runtime.put(replica.name, UP)
        runtime.await_up(replica.name)
        say(f"{replica.name} is warm and takes requests")
