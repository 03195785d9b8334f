"""A handler as TorchServe's own examples have it: BaseHandler's methods, a batch of requests through the model at once.

With EXAMPLE_PADDING (tokens) every text is padded to that length, as TorchServe's BERT example does; else to the
longest of the batch.
"""

import os

from encoder import Encoder
from ts.torch_handler.base_handler import BaseHandler


class Embeddings(BaseHandler):
    def initialize(self, context):
        padding = int(os.environ.get("EXAMPLE_PADDING", "0")) or None
        self.encoder = Encoder(context.system_properties["model_dir"], padding)
        self.initialized = True

    def preprocess(self, requests):
        bodies = [each.get("data") or each.get("body") for each in requests]
        return [body.decode() if isinstance(body, (bytes, bytearray)) else body for body in bodies]

    def inference(self, texts):
        return self.encoder(texts)

    def postprocess(self, vectors):
        return [{"embedding": vector} for vector in vectors]
