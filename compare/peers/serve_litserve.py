"""LitServe: an API of four methods, its own worker processes and its own batches."""

import os
from typing import Any

import litserve
from encoder import Encoder

BATCH, WAIT_S = int(os.environ["BATCH"]), float(os.environ["WAIT_MS"]) / 1e3


class Embeddings(litserve.LitAPI):
    """LitServe puts the texts of a batch into a list. Without batches, ``predict`` gets one text."""

    def setup(self, device: str) -> None:
        """Loads the model, in a worker process."""
        self.encoder = Encoder()

    # Without annotations, since LitServe would check each request and answer against them, which takes time.
    def decode_request(self, request):  # type: ignore[no-untyped-def]
        """The text of a request's JSON."""
        return request["text"]

    def predict(self, texts: Any) -> list[Any]:
        """An embedding of each text, or of the one text."""
        return self.encoder(texts) if BATCH > 1 else self.encoder([texts])[0]

    def encode_response(self, output):  # type: ignore[no-untyped-def]
        """The JSON of an answer."""
        return {"embedding": output}


if __name__ == "__main__":
    api = Embeddings(max_batch_size=BATCH, batch_timeout=WAIT_S, api_path="/predictions/model")
    accelerator = "cpu" if os.environ["DEVICE"] == "cpu" else "cuda"
    server = litserve.LitServer(api, accelerator=accelerator, workers_per_device=int(os.environ["WORKERS"]))
    server.run(host="127.0.0.1", port=int(os.environ["PORT"]), generate_client_file=False, access_log=False,
               log_level="warning")  # fmt: skip
