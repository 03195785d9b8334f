"""Which models the cluster serves, and whether they are ready. Ray Serve's status is read once a second.

Each archive is an application of the same name, so that each can be updated or scaled without the others.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve.context import _get_global_client
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ApplicationDetails, ServeInstanceDetails

from deploy.ray import refusal
from deploy.ray.archive import Labels
from deploy.ray.model import DEPLOYMENT
from deploy.ray.watch.present import Seen

FRONT = "_front"  # the front's application; no archive's name begins with _
AGE_S, LOADED_S = 1.0, 2.0


class Models:
    """The applications that hold an archive, as they were a second ago."""

    def __init__(self) -> None:
        self._found: dict[str, ApplicationDetails] = {}
        self._read_at = float("-inf")
        self._handles: dict[str, Any] = {}
        self._reading = asyncio.Lock()
        self.labels: dict[str, Labels] = {}  # by model, from its last answer
        self._loads: dict[str, tuple[set[str], float]] = {}  # by model: running replicas, a load time in seconds

    async def handle(self, name: str) -> Any:
        """The handle of the model's application. Raises Refusal for an unknown model."""
        if name not in self._handles:
            await self._read()
            if name not in self._found:
                raise refusal.not_found(f"Model not found: {name}", "ModelNotFoundException")
            self._handles[name] = await asyncio.to_thread(serve.get_app_handle, name)
        return self._handles[name]

    async def ready(self, name: str, version: str | None = None) -> bool:
        """Whether a replica of the model is warm; with ``version``, whether one of that version answers. Raises
        Refusal."""
        handle = await self.handle(name)
        await self._read()
        if name not in self._found or not _replicas(self._found[name]):
            return False
        return version is None or version == await handle.version.remote()

    async def health(self) -> str:
        """The health in TorchServe's words."""
        await self._read()
        ready = [bool(_replicas(each)) for each in self._found.values()]
        return "Healthy" if all(ready) else "Partial Healthy" if any(ready) else "Unhealthy"

    def look(self) -> list[Seen]:
        """The present state of each model. It asks Ray and blocks, so call it in a separate thread."""
        with suppress(RayError, RayServeException):
            return [self._look(name, each) for name, each in _applications().items() if DEPLOYMENT in each.deployments]
        return []

    def _look(self, name: str, application: ApplicationDetails) -> Seen:
        running, handle = _replicas(application), self._handles.get(name) or serve.get_app_handle(name)
        if running and self._loads.get(name, (set(), 0.0))[0] != running:
            with suppress(RayError, RayServeException, TimeoutError):  # Ray is busy; the next look asks again
                self.labels[name], load_s = handle.loaded.remote().result(timeout_s=LOADED_S)
                self._loads[name] = running, load_s
        load_s = self._loads[name][1] if name in self._loads else None
        labels = self.labels.get(name, (name, "", ""))  # until a replica has told its labels
        options = application.deployments[DEPLOYMENT]
        capacity = options.deployment_config.max_queued_requests
        return Seen(labels, capacity, len(running), options.target_num_replicas, load_s)

    async def _read(self) -> None:
        async with self._reading:
            if time.monotonic() - self._read_at < AGE_S:
                return
            try:
                found = await asyncio.to_thread(_applications)
            except (RayError, RayServeException):  # the controller restarts; the last known state stays
                return
            self._found = found
            self._handles = {name: each for name, each in self._handles.items() if name in self._found}
            self._read_at = time.monotonic()


def _applications() -> dict[str, ApplicationDetails]:
    """The applications that hold an archive, with their replicas. serve.status() is made of the same data."""
    details = _get_global_client().get_serve_details()
    found = ServeInstanceDetails(**details).applications
    return {name: each for name, each in found.items() if name != FRONT}


def _replicas(application: ApplicationDetails) -> set[str]:
    """The ids of the warm replicas."""
    deployment = application.deployments.get(DEPLOYMENT)
    return {each.replica_id for each in deployment.replicas if each.state == "RUNNING"} if deployment else set()
