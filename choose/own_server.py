"""Recognises servers that make choose started, by a variable in their environment.

A search that is killed leaves its server behind. When the same command continues the search, it stops that server and
no other.
"""

from __future__ import annotations

import os

import psutil

from loadtest.measure.servers import ServerRunsError
from serving import server
from serving.state import RunDirectory

MARK = "MAKE_CHOOSE"  # the variable in the environment of its servers, with the process that started them
IN_THE_WAY = "TorchServe runs already and make choose starts its own, one after the other; run: make stop"


def claim() -> None:
    """Marks the servers that this process starts from now on."""
    os.environ[MARK] = str(os.getpid())


def make_way() -> None:
    """Stops a server that a killed search left. Raises ServerRunsError where another server runs."""
    run = RunDirectory.default()
    state = run.read()
    if state is None or not state.running():
        return
    try:
        owner = int(psutil.Process(state.pid).environ().get(MARK, "0"))
    except (psutil.Error, ValueError):
        owner = 0
    if not owner or (owner != os.getpid() and psutil.pid_exists(owner)):
        raise ServerRunsError(IN_THE_WAY)
    server.stop(run)
