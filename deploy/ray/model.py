"""The deployment that holds one archive. A replica is a process with a warm model. It takes the queued requests as one
batch."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ray
from ray import serve

from deploy.ray.archive import Answer, Asked, Labels, Loaded
from serving.model_settings import Settings

DEPLOYMENT = "Model"
LATE = 1.5  # times the response timeout, so that the handler's own limits act first


@serve.deployment(name=DEPLOYMENT, max_surge_percent=100, health_check_period_s=2, graceful_shutdown_wait_loop_s=0.5)
class Model:
    """A replica. It is ready once the archive is warm, and unhealthy when a batch exceeds its time limit."""

    def __init__(self, archive: str, digest: str, settings: Settings) -> None:
        gpus = ray.get_gpu_ids()
        # One thread for all work of the model, since OpenMP keeps a pool of threads for each thread that calls it.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        gpu, began = 0 if gpus else None, time.monotonic()  # Ray shows a replica only its own GPU
        self._model = self._thread.submit(Loaded, Path(archive), digest, settings, gpu).result()
        self._load_s = time.monotonic() - began
        self._began: float | None = None
        self._batch.set_max_batch_size(self._model.batch_size)
        self._batch.set_batch_wait_timeout_s(self._model.delay_s)

    async def ask(self, asked: Asked) -> Answer:
        """The answer to one request, which shares its batch with others."""
        answer: Answer = await self._batch(asked)
        return answer

    def version(self) -> str:
        """The archive's version."""
        return self._model.version

    def loaded(self) -> tuple[Labels, float]:
        """(the archive's labels, the seconds that it took to load and warm up)."""
        return self._model.labels, self._load_s

    # No wait unless batch_delay_ms asks for one: while a batch is computed, the next one gathers.
    @serve.batch(max_batch_size=1, batch_wait_timeout_s=0)
    async def _batch(self, asked: list[Asked]) -> list[Answer]:
        self._began = time.monotonic()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._model.ask, asked)
        finally:
            self._began = None

    def check_health(self) -> None:
        """Called by Ray, which replaces a replica where this raises."""
        if self._began is not None and time.monotonic() - self._began > LATE * self._model.timeout_s:
            raise RuntimeError(f"A batch takes longer than {LATE * self._model.timeout_s:.0f} s.")
