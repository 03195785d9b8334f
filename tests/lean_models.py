"""Small random models of transformers, torchvision and timm for the tests of the lean networks.

Their settings differ from the defaults, so that a hard-coded default fails.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

HEADS: dict[str, dict[str, Any]] = {
    "pooled": {"kind": "pooled", "pooling": "mean", "normalize": True},
    "mask": {"kind": "mask"},
    "classification": {"kind": "classification"},
    "tokens": {"kind": "tokens"},
    "span": {"kind": "span"},
}
AUTO = {
    "pooled": "AutoModel",
    "mask": "AutoModelForMaskedLM",
    "classification": "AutoModelForSequenceClassification",
    "tokens": "AutoModelForTokenClassification",
    "span": "AutoModelForQuestionAnswering",
}
VOCABULARY, TOKENS = 300, 11
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": {"layer_norm_eps": 1e-3, "hidden_act": "gelu_new", "type_vocab_size": 3, "pad_token_id": 0},
    "roberta": {"layer_norm_eps": 1e-2, "type_vocab_size": 1, "pad_token_id": 4},
    "xlm-roberta": {"layer_norm_eps": 1e-5, "type_vocab_size": 2, "pad_token_id": 1, "hidden_act": "gelu_new"},
    "camembert": {"layer_norm_eps": 1e-5, "type_vocab_size": 1, "pad_token_id": 1},
    "distilbert": {"activation": "relu", "pad_token_id": 2},
    "electra": {"layer_norm_eps": 1e-3, "type_vocab_size": 2, "embedding_size": 128, "hidden_act": "relu"},
}


def text_model(family: str, kind: str, width: int = 64, **settings: Any) -> Any:
    """A model of two layers with the head ``kind``; weights are so large that every part of the model matters."""
    import transformers

    torch.manual_seed(3)
    sizes = {"n_heads": 4, "hidden_dim": 2 * width, "dim": width, "n_layers": 2}
    if family != "distilbert":
        sizes = {"num_attention_heads": 4, "intermediate_size": 2 * width, "hidden_size": width, "num_hidden_layers": 2}
    labels = {} if kind in ("pooled", "mask", "span") else {"num_labels": 5}
    given = {"vocab_size": VOCABULARY, "max_position_embeddings": 40, **sizes, **labels, **FAMILIES[family], **settings}
    config = transformers.AutoConfig.for_model(family, **given)
    model = getattr(transformers, AUTO[kind]).from_config(config).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.weight.normal_(0, module.in_features**-0.5)
                module.bias.normal_(0, 0.3)
            elif isinstance(module, nn.LayerNorm):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)
            elif isinstance(module, nn.Embedding):
                module.weight.normal_(0, 0.5)
    return model


def texts(padded: bool, types: int = 1) -> dict[str, Tensor]:
    """A batch of three texts as the arguments of a transformers model; with ``types`` > 1, of pairs."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(10, VOCABULARY, (3, TOKENS), generator=generator)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if types > 1:
        inputs["token_type_ids"] = (torch.arange(TOKENS) > 4).long().expand_as(ids).contiguous()
    if padded:
        inputs["attention_mask"][1, 5:] = 0
    return inputs


def text_outputs(model: Any, kind: str, inputs: dict[str, Tensor], position: Tensor) -> tuple[Tensor, ...]:
    """The library's own outputs for ``inputs``, in the form of the lean outputs; for "pooled", masked means."""
    ids = inputs["input_ids"].clone()
    if model.config.pad_token_id is not None:
        ids[inputs["attention_mask"] == 0] = model.config.pad_token_id
    with torch.inference_mode():
        found = model(**{**inputs, "input_ids": ids})
    if kind == "pooled":
        weights = inputs["attention_mask"][:, :, None].float()
        return (nn.functional.normalize((found[0] * weights).sum(1) / weights.sum(1), dim=1),)
    if kind == "span":
        return found.start_logits, found.end_logits
    return (found.logits[torch.arange(len(ids)), position],) if kind == "mask" else (found.logits,)


def with_real_norms(network: nn.Module) -> nn.Module:
    """``network`` in evaluation mode, with random batch norms. A fresh batch norm is the identity, so a test with it
    would check nothing."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.1)
    return network.eval()


def with_measured_norms(network: nn.Module, side: int = 64) -> nn.Module:
    """``network`` in evaluation mode, its batch norms with the statistics of noise.

    With the statistics of a fresh network every block doubles the variance, and ResNet-101 exceeds the range of fp16.
    """
    network = with_real_norms(network).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network(torch.randn(8, 3, side, side))
    return network.eval()
