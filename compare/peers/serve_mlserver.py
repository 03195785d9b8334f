"""MLServer: a runtime for one model, over the Open Inference Protocol, with parallel workers and adaptive batches."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from encoder import Encoder
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Embeddings(MLModel):
    """A runtime of one model."""

    async def load(self) -> bool:
        """Loads the model, in a worker process; True: it is ready."""
        self.encoder = Encoder()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """The embeddings of a batch of texts, as one tensor (texts, width)."""
        vectors = np.array(self.encoder(StringCodec.decode_input(payload.inputs[0])), dtype=np.float32)
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("embedding", vectors)])


def settings() -> tuple[dict[str, Any], dict[str, Any]]:
    """(settings.json, model-settings.json)"""
    port, batch = int(os.environ["PORT"]), int(os.environ["BATCH"])
    server = {"host": "127.0.0.1", "http_port": port, "grpc_port": int(os.environ["PORT_2"]),
              "metrics_port": int(os.environ["PORT_3"]), "parallel_workers": int(os.environ["WORKERS"]),
              "debug": False}  # fmt: skip
    model: dict[str, Any] = {"name": "model", "implementation": "serve_mlserver.Embeddings"}
    if batch > 1:
        model |= {"max_batch_size": batch, "max_batch_time": float(os.environ["WAIT_MS"]) / 1e3}
    return server, model


if __name__ == "__main__":
    for name, content in zip(("settings.json", "model-settings.json"), settings(), strict=True):
        Path(name).write_text(json.dumps(content))
    os.execv(sys.executable, [sys.executable, "-c", "from mlserver.cli import main; main()", "start", "."])
