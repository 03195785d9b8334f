"""Ray Serve: a deployment with as many replicas as workers, and ``@serve.batch`` for batches.

RAY_SERVE_ENABLE_HA_PROXY and RAY_SERVE_THROUGHPUT_OPTIMIZED come from the environment, before Ray is imported.
"""

import os
import time

import ray
from encoder import Encoder
from ray import serve
from starlette.requests import Request

BATCH, WAIT_S, WORKERS = int(os.environ["BATCH"]), float(os.environ["WAIT_MS"]) / 1e3, int(os.environ["WORKERS"])
GPUS = 0 if os.environ["DEVICE"] == "cpu" else 1 / WORKERS


@serve.deployment(num_replicas=WORKERS, max_ongoing_requests=max(16, 2 * BATCH),
                  ray_actor_options={"num_cpus": 0.1, "num_gpus": GPUS})  # fmt: skip
class Embeddings:
    """A replica with its own model."""

    def __init__(self) -> None:
        self.encoder = Encoder()

    async def __call__(self, request: Request) -> dict[str, list[float]]:
        """The embedding of the text in the body."""
        text = (await request.body()).decode()
        return {"embedding": await self.batch(text) if BATCH > 1 else self.encoder([text])[0]}

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=WAIT_S)
    async def batch(self, texts: list[str]) -> list[list[float]]:
        """Ray calls it with the texts of several requests."""
        return self.encoder(texts)


if __name__ == "__main__":
    ray.init(include_dashboard=False, _temp_dir=os.environ["RAY_TEMP"], configure_logging=True, log_to_driver=True)
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PORT"])})
    # The decorator makes the class a deployment. mypy does not know its type.
    serve.run(Embeddings.bind(), route_prefix="/predictions/model")  # type: ignore[attr-defined]
    while True:
        time.sleep(60)
