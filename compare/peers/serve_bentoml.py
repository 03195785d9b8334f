"""BentoML: a service whose API is batchable or not; ``bentoml serve`` starts its workers."""

import os
import sys
from pathlib import Path

import bentoml
from encoder import Encoder

BATCH, WAIT_MS, WORKERS = int(os.environ["BATCH"]), float(os.environ["WAIT_MS"]), int(os.environ["WORKERS"])
TIMEOUT_S = 60

if BATCH > 1:

    @bentoml.service(workers=WORKERS, traffic={"timeout": TIMEOUT_S})
    class Embeddings:
        """A worker with its own model, which answers a batch of texts."""

        def __init__(self) -> None:
            self.encoder = Encoder()

        # max_latency_ms is no wait: BentoML refuses requests that exceed it, and finds the wait by itself.
        @bentoml.api(route="/predictions/model", batchable=True, max_batch_size=BATCH, max_latency_ms=TIMEOUT_S * 1000)
        def encode(self, texts: list[str]) -> list[list[float]]:
            """An embedding of each text."""
            return self.encoder(texts)

else:

    @bentoml.service(workers=WORKERS, traffic={"timeout": TIMEOUT_S})
    class Embeddings:  # type: ignore[no-redef]  # one of the two is made
        """A worker with its own model, which answers each request alone."""

        def __init__(self) -> None:
            self.encoder = Encoder()

        @bentoml.api(route="/predictions/model")
        def encode(self, texts: list[str]) -> list[list[float]]:
            """An embedding of each text."""
            return self.encoder(texts)


if __name__ == "__main__":
    command = [sys.executable, "-m", "bentoml", "serve", "serve_bentoml:Embeddings", "--host", "127.0.0.1",
               "--port", os.environ["PORT"], "--working-dir", str(Path(__file__).parent)]  # fmt: skip
    os.execv(sys.executable, command)
