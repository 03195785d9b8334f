"""A share of an archive's requests for another version, as HAProxy reads it: a map, which it looks each request up in.

HAProxy loads the map's file when it starts, and takes changes over its runtime API. So a change needs no new HAProxy,
and no connection is closed for it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from serving.replicas.runtime import QUIET, Runtime

MAP = "canary.map"
TABLE = "clients"  # HAProxy's table of requests to the other version that are under way
ANSWERED_WITHIN_S = 30.0


@dataclass(frozen=True)
class Canary:
    """A version that answers ``percent`` of the requests to its archive which name no version."""

    archive: str
    version: str
    percent: float

    @property
    def share(self) -> int:
        """The same in tenths of a percent, 1 or more."""
        return max(1, round(10 * self.percent))

    def paths(self) -> dict[str, str]:
        """{path without a version: the path of this version}."""
        return {
            f"/predictions/{self.archive}": f"/predictions/{self.archive}/{self.version}",
            f"/v2/models/{self.archive}/infer": f"/v2/models/{self.archive}/versions/{self.version}/infer",
        }


def file(temp: str) -> Path:
    """The map's file of the start whose temporary folder is ``temp``."""
    return Path(temp, MAP)


def entries(canary: Canary | None) -> dict[str, str]:
    """The map: {path: "tenths of a percent:path of the other version"}; empty for None."""
    return {path: f"{canary.share}:{other}" for path, other in canary.paths().items()} if canary else {}


def split(temp: str, canary: Canary | None, running: bool) -> None:
    """Sends a share of the requests to another version; none with None, and then returns once those under way have been
    answered, for 30 s at most. Of a HAProxy that is not ``running``, changes the file alone, which the next one loads.
    Raises ServingError where HAProxy does not take the change."""
    if not file(temp).exists():  # of a HAProxy that an earlier version of this project started
        return
    found = entries(canary)
    partial = file(temp).with_suffix(".part")
    partial.write_text("".join(f"{path} {value}\n" for path, value in found.items()))
    partial.replace(file(temp))
    if not running:
        return
    runtime = Runtime(temp)
    runtime.replace_map(file(temp), found)
    if not found:
        _await_answers(runtime)


def _await_answers(runtime: Runtime) -> None:
    """The version may be removed afterwards, and the requests name it. HAProxy counts a request just after its look
    into the map, so several looks in a row have to find none."""
    deadline, quiet = time.monotonic() + ANSWERED_WITHIN_S, 0
    while quiet < QUIET and time.monotonic() < deadline:
        quiet = 0 if runtime.tracked(TABLE) else quiet + 1
        time.sleep(0.02)
