"""Where the text models of transformers keep their weights, and which of their settings have a lean form.

A family is a row of FAMILIES, by config.json's ``model_type``. Everything else is a LeanError that names what is not
supported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from handlers.lean.encoder import LeanEncoder
from handlers.lean.errors import LeanError, refusal

# transformers' name of an activation -> operators.activate's
ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu"}


@dataclass(frozen=True)
class Family:
    """Names of a family's settings and modules. A module's name starts at the layer, at the base model (``layers``) or
    at the whole model (``mask`` and ``classification``)."""

    base: str  # the encoder within a model with a head
    mask: tuple[str, str, str]  # of ForMaskedLM: dense, norm, decoder
    classification: tuple[str, str]  # of ForSequenceClassification: dense, classifier
    mask_activation: str | None = None  # operators.activate's name; None: the encoder's
    class_activation: str = "tanh"
    position_offset: bool = False  # positions start after the padding position
    activation: str = "hidden_act"  # settings of config.json
    heads: str = "num_attention_heads"
    inner: str = "intermediate_size"
    width: str = "hidden_size"
    layers: str = "encoder.layer"
    qkv: tuple[str, str, str] = ("attention.self.query", "attention.self.key", "attention.self.value")
    out: str = "attention.output.dense"
    attention_norm: str = "attention.output.LayerNorm"
    up: str = "intermediate.dense"
    down: str = "output.dense"
    norm: str = "output.LayerNorm"


BERT = Family(
    base="bert",
    mask=("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.decoder"),
    classification=("bert.pooler.dense", "classifier"),
)
ROBERTA = Family(
    base="roberta",
    mask=("lm_head.dense", "lm_head.layer_norm", "lm_head.decoder"),
    mask_activation="gelu",
    classification=("classifier.dense", "classifier.out_proj"),
    position_offset=True,
)
ELECTRA = Family(
    base="electra",
    mask=("generator_predictions.dense", "generator_predictions.LayerNorm", "generator_lm_head"),
    mask_activation="gelu",
    classification=("classifier.dense", "classifier.out_proj"),
    class_activation="gelu",
)
DISTILBERT = Family(
    base="distilbert",
    mask=("vocab_transform", "vocab_layer_norm", "vocab_projector"),
    classification=("pre_classifier", "classifier"),
    class_activation="relu",
    activation="activation",
    heads="n_heads",
    inner="hidden_dim",
    width="dim",
    layers="transformer.layer",
    qkv=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
    out="attention.out_lin",
    attention_norm="sa_layer_norm",
    up="ffn.lin1",
    down="ffn.lin2",
    norm="output_layer_norm",
)
FAMILIES = {
    "bert": BERT,
    "camembert": ROBERTA,
    "distilbert": DISTILBERT,
    "electra": ELECTRA,
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
}
EXPECTED = {"position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False}
POOLINGS = ("mean", "cls", "max")


def unsupported_text(config: Mapping[str, Any], head: Mapping[str, Any]) -> str | None:
    """See handlers.lean.unsupported. A setting that config.json leaves out has transformers' default."""
    name = config.get("model_type")
    if name not in FAMILIES:
        return refusal(f"{name!r} is none of the text families that it knows ({', '.join(sorted(FAMILIES))})")
    what = _unsupported_setting(FAMILIES[name], config) or _unsupported_head(config, head)
    return refusal(f"{name} with {what}") if what else None


def _unsupported_setting(family: Family, config: Mapping[str, Any]) -> str | None:
    activation = config.get(family.activation, "gelu")
    if activation not in ACTIVATIONS:
        return f"{family.activation} {activation!r} (known: {', '.join(ACTIVATIONS)})"
    for setting, expected in EXPECTED.items():
        if (value := config.get(setting, expected)) not in (expected, None):
            return f"{setting} {value!r} instead of {expected!r}"
    width, heads = config.get(family.width), config.get(family.heads)
    if width and heads and width % heads:
        return f"{family.width} {width}, which {heads} attention heads do not divide"
    return None


def _unsupported_head(config: Mapping[str, Any], head: Mapping[str, Any]) -> str | None:
    if head["kind"] == "pooled" and head["pooling"] not in POOLINGS:
        return f"pooling {head['pooling']!r} (known: {', '.join(POOLINGS)})"
    labels = config.get("id2label")  # transformers' default has two
    classes = config.get("num_labels") or (len(labels) if labels else 2)
    if head["kind"] == "span" and classes != 2:
        return f"a span head of {classes} labels instead of 2"
    return None


def convert_text(network: Any, head: Mapping[str, Any]) -> tuple[LeanEncoder, dict[str, Any]]:
    """A LeanEncoder with the weights of ``network``, and its spec, from which handlers.lean.build makes one without
    weights.

    ``network`` is a model of transformers: the base model for a "pooled" head, the model with that head otherwise.
    Raises LeanError.
    """
    config = network.config.to_dict()
    if reason := unsupported_text(config, head):
        raise LeanError(reason)
    family = FAMILIES[config["model_type"]]
    base = network if head["kind"] == "pooled" else getattr(network, family.base)
    layers, (modules, settings) = attrgetter(family.layers)(base), _head(family, network, head["kind"])
    words, positions, types = _tables(family, base.embeddings)
    activation = ACTIVATIONS[config[family.activation]]
    spec = {
        "network": "encoder", "head": dict(head), "epsilon": base.embeddings.LayerNorm.eps,
        "width": config[family.width], "embedding_width": words.size(1), "heads": config[family.heads],
        "inner": config[family.inner], "layers": len(layers), "vocabulary": len(words), "positions": len(positions),
        "types": 1 if types is None else len(types), "activation": activation, "mask_activation": activation,
        **settings,
    }  # fmt: skip
    modules |= {"embeddings.norm": base.embeddings.LayerNorm}
    if words.size(1) != spec["width"]:
        modules["project"] = base.embeddings_project
    state = {"embeddings.words.weight": words, "embeddings.positions.weight": positions}
    if types is not None:
        state["embeddings.types.weight"] = types
    for name, module in modules.items():
        state |= _pair(name, module)
    for index, layer in enumerate(layers):
        state |= {f"layers.{index}.{name}": tensor for name, tensor in _layer_state(family, layer).items()}
    lean = LeanEncoder(spec)
    lean.load_state_dict({name: tensor.detach().clone() for name, tensor in state.items()})
    return lean.eval(), spec


def _tables(family: Family, embeddings: Any) -> tuple[Tensor, Tensor, Tensor | None]:
    """The tables of words, positions and types in the form of LeanEmbeddings."""
    words, positions = embeddings.word_embeddings.weight, embeddings.position_embeddings.weight
    if family.position_offset:
        positions = positions[embeddings.padding_idx + 1 :]
    if not hasattr(embeddings, "token_type_embeddings"):
        return words, positions, None
    types = embeddings.token_type_embeddings.weight
    return words, positions + types[0], types - types[0] if len(types) > 1 else None


def _head(family: Family, network: Any, kind: str) -> tuple[dict[str, nn.Module], dict[str, Any]]:
    """The modules of the head, by their names in the lean head, and the head's part of the spec."""
    names: tuple[str, ...]
    if kind == "pooled":
        return {}, {}
    if kind == "mask":
        names, settings = ("transform", "norm", "decoder"), {}
        modules = [attrgetter(path)(network) for path in family.mask]
        if family.mask_activation:
            settings = {"mask_activation": family.mask_activation}
    elif kind == "classification":
        names, settings = ("dense", "classifier"), {"class_activation": family.class_activation}
        modules = [attrgetter(path)(network) for path in family.classification]
    elif kind == "tokens":
        names, settings, modules = ("classifier",), {}, [network.classifier]
    else:
        names, settings, modules = ("start", "end"), {}, _rows(network.qa_outputs)
    if kind in ("classification", "tokens"):
        settings["classes"] = modules[-1].out_features
    return {f"head.{name}": module for name, module in zip(names, modules, strict=True)}, settings


def _rows(linear: nn.Linear) -> list[nn.Linear]:
    """``linear`` split into layers of one output each."""
    rows = []
    for weight, bias in zip(linear.weight, linear.bias, strict=True):
        row = nn.Linear(linear.in_features, 1)
        row.weight, row.bias = nn.Parameter(weight[None].detach()), nn.Parameter(bias[None].detach())
        rows.append(row)
    return rows


def _pair(name: str, module: Any) -> dict[str, Tensor]:
    return {f"{name}.weight": module.weight, f"{name}.bias": module.bias}


def _layer_state(family: Family, layer: Any) -> dict[str, Tensor]:
    parts = [attrgetter(path)(layer) for path in family.qkv]
    state = {
        "qkv.weight": torch.cat([part.weight for part in parts]),
        "qkv.bias": torch.cat([part.bias for part in parts]),
    }
    for name in ("out", "attention_norm", "up", "down", "norm"):
        state |= _pair(name, attrgetter(getattr(family, name))(layer))
    return state
