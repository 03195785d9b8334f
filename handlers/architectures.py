"""The models as the archives run them: a published network with its pooling, head or normalisation.

Each wrapper takes a batch exactly as the handlers prepare it and returns float tensors in the order of
``Settings.outputs``. So every runtime (eager, TorchScript, exported) computes the same function. The module imports
torch. Only the loaders import transformers, torchvision and timm, since a TorchScript worker needs none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from handlers.families import FAMILIES
from handlers.settings import Settings


class TextModel(nn.Module):
    """Base of the text models: calls a transformers network of any family with a batch of token ids.

    The mask is boolean [N, 1, 1, L] for every family that accepts this shape. transformers then builds no mask of its
    own. Its own mask depends on the data: it is left out when nothing is padded, and a trace would keep that choice.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        family = FAMILIES[network.config.model_type]
        self.plain_mask, self.token_types = family.plain_mask, family.token_types

    @property
    def base(self) -> nn.Module:
        """The network without its head."""
        found: nn.Module = self.network.base_model
        return found

    def call(self, network: nn.Module, input_ids: Tensor, attention_mask: Tensor, types: Tensor | None = None) -> Any:
        """The network's own output record. ``input_ids``, ``attention_mask`` and ``types`` are int64 [N, L]."""
        mask = attention_mask if self.plain_mask else attention_mask[:, None, None, :].to(torch.bool)
        more = {}
        if self.token_types:
            more["token_type_ids"] = torch.zeros_like(input_ids) if types is None else types
        return network(input_ids=input_ids, attention_mask=mask, **more)


class Pooled(TextModel):
    """One vector per text, pooled as sentence-transformers does: the mean or the maximum of the hidden states, or the
    first token's. The vector has unit length if ``normalize`` is set.

    forward(input_ids, attention_mask), both int64 [N, L], returns float [N, H].
    """

    def __init__(self, network: nn.Module, pooling: str, normalize: bool) -> None:
        super().__init__(network)
        self.pooling, self.normalize = pooling, normalize

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = self.call(self.network, input_ids, attention_mask).last_hidden_state
        weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
        if self.pooling == "cls":
            vector = hidden[:, 0]
        elif self.pooling == "max":
            vector = hidden.masked_fill(weights == 0, torch.finfo(hidden.dtype).min).amax(dim=1)
        else:
            vector = (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)
        return F.normalize(vector, p=2.0, dim=1) if self.normalize else vector


class MaskFiller(TextModel):
    """The checkpoint's own masked-language-model head, applied at the masked position only.

    forward(input_ids, attention_mask, mask_position), int64 [N, L], [N, L] and [N], returns logits [N, vocabulary].
    At all of 128 positions, the head would take a quarter of BERT-base's work.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        self.head = mask_head(network)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, mask_position: Tensor) -> Tensor:
        hidden = self.call(self.base, input_ids, attention_mask).last_hidden_state
        index = mask_position.view(-1, 1, 1).expand(-1, 1, hidden.size(2))
        logits: Tensor = self.head(hidden.gather(1, index)).squeeze(1)
        return logits


def mask_head(network: Any) -> nn.Module:
    """The masked-language-model head of a ...ForMaskedLM network: hidden states [..., H] to logits [..., V]."""
    family = network.config.model_type
    if family == "distilbert":
        return nn.Sequential(
            network.vocab_transform, network.activation, network.vocab_layer_norm, network.vocab_projector
        )
    if family == "electra":
        return nn.Sequential(network.generator_predictions, network.generator_lm_head)
    head: nn.Module = network.cls if family == "bert" else network.lm_head
    return head


class TextLogits(TextModel):
    """A ...ForSequenceClassification or ...ForTokenClassification network.

    forward(input_ids, attention_mask[, token_type_ids]), int64 [N, L], returns logits [N, C] or [N, L, C].
    """

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        logits: Tensor = self.call(self.network, input_ids, attention_mask, token_type_ids).logits
        return logits


class Spans(TextModel):
    """A ...ForQuestionAnswering network.

    forward(input_ids, attention_mask[, token_type_ids]), int64 [N, L], returns start and end logits, each [N, L].
    """

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        output = self.call(self.network, input_ids, attention_mask, token_type_ids)
        return output.start_logits, output.end_logits


class ImageModel(nn.Module):
    """Normalisation on the model's device, then the network.

    forward(pixels), uint8 [N, H, W, 3], returns the network's logits [N, classes] or features [N, width]. Pixels are
    copied to the device as uint8, which is a quarter of the bytes of float32.
    """

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.channels_last = False
        self.scale: Tensor
        self.shift: Tensor
        # (x / 255 - mean) / std as one multiply and one add.
        self.register_buffer("scale", torch.tensor([1 / (255 * s) for s in std]).view(1, 3, 1, 1))
        self.register_buffer("shift", torch.tensor([-m / s for m, s in zip(mean, std, strict=True)]).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        images = pixels.permute(0, 3, 1, 2)  # channels-last, as pixels are
        if not self.channels_last:
            images = images.contiguous()
        found: Tensor = self.network(images.to(self.scale.dtype) * self.scale + self.shift)
        return found


# Without use_safetensors, transformers would load a pickle if model.safetensors is missing.
NO_PICKLE: dict[str, Any] = {"local_files_only": True, "use_safetensors": True}

# The class of transformers that loads a network with each kind of head.
AUTO_CLASSES = {
    "pooled": "AutoModel",
    "mask": "AutoModelForMaskedLM",
    "classification": "AutoModelForSequenceClassification",
    "tokens": "AutoModelForTokenClassification",
    "span": "AutoModelForQuestionAnswering",
}


def load_eager(directory: Path, settings: Settings) -> nn.Module:
    """Loads the eager model of ``settings.head`` from a checkpoint folder, never from a pickle.

    The folder of a text model is a transformers folder (config.json, model.safetensors). For the folder of an image
    model see handlers.networks.build_network.
    """
    head = settings.head
    if head["kind"] == "image":
        return _image(directory, settings).eval()
    return wrap_text(load_network(directory, head["kind"]), head).eval()


def load_network(directory: Path, kind: str) -> nn.Module:
    """The transformers network of a checkpoint folder with a head of that kind."""
    import transformers

    config = transformers.AutoConfig.from_pretrained(directory, local_files_only=True)
    more = {"add_pooling_layer": False} if kind == "pooled" and FAMILIES[config.model_type].pooler else {}
    loader: Any = getattr(transformers, AUTO_CLASSES[kind])
    network: nn.Module = loader.from_pretrained(directory, config=config, **NO_PICKLE, **more)
    return network


def wrap_text(network: nn.Module, head: dict[str, Any]) -> nn.Module:
    """The wrapper of ``head`` around a transformers network."""
    kind = head["kind"]
    if kind == "pooled":
        return Pooled(network, head["pooling"], head["normalize"])
    return {"mask": MaskFiller, "classification": TextLogits, "tokens": TextLogits, "span": Spans}[kind](network)


def _image(directory: Path, settings: Settings) -> nn.Module:
    from handlers.networks import build_network, features

    head, image = settings.head, settings.image_input
    network = build_network(head["library"], head["architecture"], head["classes"], directory)
    if head["features"]:
        network = features(network, head["library"])
    return ImageModel(network, image.mean, image.std)
