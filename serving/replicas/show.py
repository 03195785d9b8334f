"""The output of make serve and make status for replicas."""

from __future__ import annotations

import shlex
import time
from contextlib import suppress

import psutil

from serving.client import Client
from serving.errors import ServingError
from serving.plan import Plan
from serving.replicas.group import Group, Replica
from serving.replicas.haproxy import alive
from serving.replicas.outage import Outage
from serving.replicas.runtime import Runtime
from serving.state import State
from serving.status import NOT_OURS, line, up_for
from serving.warm_up import Example

REFUSED = {"DOWN": "its health check fails", "MAINT": "it is being started", "DRAIN": "it finishes its requests"}


def requests(group: Group, plan: Plan) -> None:
    """Prints a request for each archive."""
    replica, front = group.replicas()[0], group.front()
    client = Client(replica.config, replica.run.key_file)
    token = Client(front, group.run.key_file).token() if front.asks_tokens else ""
    for name in plan.ours:
        example = Example.of(client.describe(name))
        print(f"  # {name}")
        print(f"  {example.curl(f'{group.asked.url}/predictions/{name}', token, group.authority)}\n")
    for name in plan.foreign:
        print(f"  # {name} ({NOT_OURS}): {group.asked.url}/predictions/{name}; its handler reads the request\n")
    if group.authority:
        print(f"The certificate is for development, and no browser trusts it. The load test and the client do with\n"
              f"  SSL_CERT_FILE={shlex.quote(group.authority)}")  # fmt: skip


def status(group: Group, state: State) -> int:
    """Prints the status of the balancer and of each replica; 0 if all replicas are warm and take requests."""
    with suppress(psutil.NoSuchProcess):
        up = up_for(time.time() - psutil.Process(state.pid).create_time())
        print(f"{group.asked.url} (HAProxy, pid {state.pid}), up for {up}")
    try:
        states = Runtime(state.temp).states()
    except ServingError as error:
        print(error)
        states = {}
    well = [_replica(each, states.get(each.name, "not known to HAProxy"), state) for each in group.replicas()]
    if not alive(group.keeper):
        print("The keeper has ended, so replicas that end are not started again; run: make stop serve")
        return 1
    return 0 if all(well) and states else 1


def _replica(replica: Replica, status: str, group_state: State) -> bool:
    state = replica.run.read()
    if not (state and state.ready and state.running()):
        print(f"{replica.name}: {Outage.read(replica.run)}")
        return False
    takes = "takes requests" if status == "UP" else f"gets no requests ({REFUSED.get(status, status)})"
    print(f"{replica.name}: {replica.config.inference} (pid {state.pid}), metrics {replica.config.metrics}, {takes}")
    client = Client(replica.config, replica.run.key_file, timeout_s=30)
    healthy = [line(client, replica.run, state, name, "  ") for name in state.archives]
    if state.archives != group_state.archives:
        print("  other archives than those of the first replicas; run: make restart")
    return all(healthy) and status == "UP" and state.archives == group_state.archives
