"""The models as the archives run them: a published network plus what belongs inside the graph.

Each wrapper takes a batch exactly as the handlers prepare it and returns one float tensor, so that every runtime
(eager, TorchScript, exported) computes the same function. Knows torch; transformers and torchvision are imported
only by the loader that needs them, since a TorchScript worker needs neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SentenceEncoder(nn.Module):
    """BERT encoder, masked mean pooling, L2 normalisation (the recipe of all-MiniLM-L6-v2's model card).

    forward(input_ids, attention_mask), both int64 [N, L], returns float [N, H] of unit length.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = encode(self.encoder, input_ids, attention_mask)
        weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)
        return F.normalize(mean, p=2.0, dim=1)


class MaskFiller(nn.Module):
    """BERT encoder and the checkpoint's own masked-language-model head, applied at the masked position only.

    forward(input_ids, attention_mask, mask_position), int64 [N, L], [N, L] and [N], returns logits [N, vocabulary].
    The head is a quarter of BERT-base's work at 128 tokens; at one position of 128 it is next to nothing.
    """

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, input_ids: Tensor, attention_mask: Tensor, mask_position: Tensor) -> Tensor:
        hidden = encode(self.encoder, input_ids, attention_mask)
        index = mask_position.view(-1, 1, 1).expand(-1, 1, hidden.size(2))
        return self.head(hidden.gather(1, index)).squeeze(1)


def encode(encoder: nn.Module, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Hidden states [N, L, H]. The mask is handed over as boolean [N, 1, 1, L]: transformers then builds none of
    its own, whose data-dependent shortcuts (skip the mask when nothing is padded) a trace would freeze."""
    mask = attention_mask[:, None, None, :].to(torch.bool)
    return encoder(
        input_ids=input_ids, attention_mask=mask, token_type_ids=torch.zeros_like(input_ids)
    ).last_hidden_state


class ImageClassifier(nn.Module):
    """Normalisation on the model's device, then the network.

    forward(pixels), uint8 [N, H, W, 3], returns logits [N, classes]. uint8 crosses the bus in a quarter of the bytes.
    """

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.channels_last = False
        # (x / 255 - mean) / std as one multiply and one add.
        self.register_buffer("scale", torch.tensor([1 / (255 * s) for s in std]).view(1, 3, 1, 1))
        self.register_buffer("shift", torch.tensor([-m / s for m, s in zip(mean, std, strict=True)]).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        images = pixels.permute(0, 3, 1, 2)  # channels-last, as pixels are
        if not self.channels_last:
            images = images.contiguous()
        return self.network(images.to(self.scale.dtype) * self.scale + self.shift)


# Where model.safetensors is missing, transformers would take a pickle.
NO_PICKLE: dict[str, Any] = {"local_files_only": True, "use_safetensors": True}

INPUTS: dict[str, tuple[str, ...]] = {
    "embedding": ("input_ids", "attention_mask"),
    "fill-mask": ("input_ids", "attention_mask", "mask_position"),
    "classification": ("pixels",),
}


def load_eager(task: str, directory: Path, settings: dict[str, Any]) -> nn.Module:
    """Loads the eager model of ``task`` from a checkpoint folder; never from a pickle.

    Text models come from a transformers folder (config.json, model.safetensors); image classifiers from
    ``model.safetensors`` and the ``architecture``, ``classes``, ``mean`` and ``std`` settings.
    """
    loaders = {"embedding": _sentence_encoder, "fill-mask": _mask_filler, "classification": _image_classifier}
    return loaders[task](directory, settings).eval()


def _sentence_encoder(directory: Path, settings: dict[str, Any]) -> nn.Module:
    from transformers import BertModel

    return SentenceEncoder(BertModel.from_pretrained(directory, **NO_PICKLE, add_pooling_layer=False))


def _mask_filler(directory: Path, settings: dict[str, Any]) -> nn.Module:
    from transformers import BertForMaskedLM

    model = BertForMaskedLM.from_pretrained(directory, **NO_PICKLE)
    return MaskFiller(model.bert, model.cls)


def _image_classifier(directory: Path, settings: dict[str, Any]) -> nn.Module:
    from safetensors.torch import load_file
    from torchvision.models import get_model

    network = get_model(settings["architecture"], weights=None, num_classes=settings["classes"])
    network.load_state_dict(load_file(directory / "model.safetensors"))
    return ImageClassifier(network, settings["mean"], settings["std"])
