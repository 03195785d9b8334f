"""What eager fp32 answers, computed the way the libraries' own users would: the yardstick of parity.

Tokenizes with transformers, prepares photographs with torchvision's transforms, runs the eager model on the CPU one
case at a time. Shares no preprocessing with the handlers, so that an error there shows as a difference.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from export import cases
from export.catalog import Model
from export.weights import Checkpoint
from handlers.architectures import load_eager


@dataclass(frozen=True)
class Reference:
    """Requests (bodies with their content type), and the reference output of each, float32 [cases, width].

    ``held_out`` are further bodies with their true labels, where the model has a held-out set.
    """

    bodies: list[bytes] = field(default_factory=list)
    content_type: str = "text/plain"
    outputs: np.ndarray | None = None
    held_out: list[bytes] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    accuracy: float = 0.0  # of the reference itself on the held-out set, 0..1


def reference(model: Model, checkpoint: Checkpoint) -> Reference:
    """The yardstick of ``model`` with these weights."""
    makers = {"embedding": _texts, "fill-mask": _texts, "classification": _images, "null": lambda *_: Reference()}
    return makers[model.task](model, checkpoint)


def _texts(model: Model, checkpoint: Checkpoint) -> Reference:
    import torch
    from transformers import PreTrainedTokenizerFast

    texts = cases.SENTENCES if model.task == "embedding" else cases.MASKED
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(checkpoint.directory / "tokenizer.json"))
    module = load_eager(model.task, checkpoint.directory, checkpoint.settings)
    limit = checkpoint.settings["input"]["max_length"]
    rows = []
    with torch.inference_mode():
        for text in texts:
            encoded = tokenizer(text, truncation=True, max_length=limit, return_tensors="pt")
            inputs = [encoded["input_ids"], torch.ones_like(encoded["input_ids"])]
            if model.task == "fill-mask":
                mask_id = tokenizer.convert_tokens_to_ids(checkpoint.settings["input"]["mask_token"])
                inputs.append((encoded["input_ids"] == mask_id).long().argmax(dim=1))
            rows.append(module(*inputs).numpy())
    return Reference([text.encode() for text in texts], "text/plain", np.concatenate(rows))


def _images(model: Model, checkpoint: Checkpoint) -> Reference:
    import torch

    module = load_eager(model.task, checkpoint.directory, checkpoint.settings)
    with torch.inference_mode():
        if model.source.kind == "trained":
            from export.digits import pixels, split

            _, _, held_out, labels = split()
            outputs = module(torch.from_numpy(pixels(held_out))).numpy()
            accuracy = float((outputs.argmax(1) == labels).mean())
            names = [str(label) for label in labels]
            return Reference(held_out[:32], "image/png", outputs[:32], held_out, names, accuracy)
        bodies = cases.photographs()
        transform = _published_transform(model)
        outputs = [_network_logits(module, transform(_open(body))).numpy() for body in bodies]
    return Reference(bodies, "application/octet-stream", np.concatenate(outputs))


def _open(body: bytes) -> Any:
    from PIL import Image

    return Image.open(io.BytesIO(body)).convert("RGB")


def _published_transform(model: Model) -> Any:
    from torchvision.models import get_weight

    return get_weight(model.source.name).transforms()


def _network_logits(module: Any, image: Any) -> Any:
    return module.network(image.unsqueeze(0))
