"""The fuzz of tests/trust against Ray Serve: the same requests and the same judge.

Requests that break the rules of HTTP are left out: Ray's own proxy (uvicorn) answers them in its own words.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

import psutil
from hypothesis import strategies as st

from tests.trust.fuzz import forms, good, images, texts
from tests.trust.fuzz.campaign import Campaign
from tests.trust.fuzz.case import Case


def replicas(name: str, leader: int) -> list[int]:
    """The pids of an archive's replicas, by the titles that Ray gives them, in the server whose first process is
    ``leader``. Other tests may run another server at the same time."""
    title = f"ray::ServeReplica:{name}:Model"
    found = []
    for each in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # it has ended
            if title in " ".join(each.cmdline()) and os.getsid(each.pid) == leader:
                found.append(each.pid)
    return sorted(found)


class RayCampaign(Campaign):
    """Requests to archives on the Ray Serve whose first process is ``leader``."""

    def __init__(self, leader: int, *settings: Any) -> None:
        self._leader = leader
        super().__init__(*settings)

    def workers(self) -> dict[str, list[int]]:
        return {name: replicas(name, self._leader) for name in self._names}

    def mix(self) -> st.SearchStrategy[Case]:
        both = st.one_of(self._texts, self._images)
        crossed = st.one_of(*[self._texts] * 5, self._images)
        kinds = [*[texts.cases(crossed)] * 4, *[images.cases(self._images)] * 4, *[forms.cases(both)] * 4,
                 *[self._tensors] * 3]  # fmt: skip
        return st.one_of(*kinds, *[good.cases(self._texts, self._images)] * 4)
