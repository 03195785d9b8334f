"""Which models the cluster serves, and whether they are ready: Ray Serve's own status, asked once a second.

Each archive is an application of its name, so that one is rolled or scaled without the others.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ApplicationStatusOverview

from deploy.ray import refusal
from deploy.ray.model import DEPLOYMENT

FRONT = "_front"  # the application of the front; no archive's name begins so
AGE_S = 1.0


class Models:
    """The applications that hold an archive, as they were a second ago."""

    def __init__(self) -> None:
        self._found: dict[str, ApplicationStatusOverview] = {}
        self._read_at = float("-inf")
        self._handles: dict[str, Any] = {}
        self._reading = asyncio.Lock()

    async def handle(self, name: str) -> Any:
        """What the model is asked with. Raises Refusal for an unknown one."""
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
        if name not in self._found or not _running(self._found[name]):
            return False
        return version is None or version == await handle.version.remote()

    async def health(self) -> str:
        """In TorchServe's words."""
        await self._read()
        ready = [_running(each) for each in self._found.values()]
        return "Healthy" if all(ready) else "Partial Healthy" if any(ready) else "Unhealthy"

    async def _read(self) -> None:
        async with self._reading:
            if time.monotonic() - self._read_at < AGE_S:
                return
            try:
                found = (await asyncio.to_thread(serve.status)).applications
            except (RayError, RayServeException):  # the controller is being started again: what was known stays
                return
            self._found = {name: each for name, each in found.items() if name != FRONT}
            self._handles = {name: each for name, each in self._handles.items() if name in self._found}
            self._read_at = time.monotonic()


def _running(application: ApplicationStatusOverview) -> bool:
    deployment = application.deployments.get(DEPLOYMENT)
    return deployment is not None and deployment.replica_states.get("RUNNING", 0) > 0
