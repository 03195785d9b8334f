"""A handler in the style of TorchServe's examples: BaseHandler's methods, with one call of the model per batch.

With EXAMPLE_PADDING (tokens), every text is padded to that length, as in TorchServe's BERT example. Without it, texts
are padded to the longest text of the batch.
"""

import os
from typing import Any

from encoder import Encoder
from ts.torch_handler.base_handler import BaseHandler


class Embeddings(BaseHandler):
    """TorchServe calls its methods one after the other with each batch."""

    def initialize(self, context: Any) -> None:
        """Loads the model of the archive, in a worker process."""
        padding = int(os.environ.get("EXAMPLE_PADDING", "0")) or None
        self.encoder = Encoder(context.system_properties["model_dir"], padding)
        self.initialized = True

    def preprocess(self, requests: list[dict[str, Any]]) -> list[str]:
        """The text of each request."""
        bodies: list[Any] = [each.get("data") or each.get("body") for each in requests]
        return [body.decode() if isinstance(body, (bytes, bytearray)) else body for body in bodies]

    def inference(self, texts: list[str]) -> list[list[float]]:
        """An embedding of each text."""
        return self.encoder(texts)

    def postprocess(self, vectors: list[list[float]]) -> list[dict[str, list[float]]]:
        """The JSON of each answer."""
        return [{"embedding": vector} for vector in vectors]
