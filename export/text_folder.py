"""Reads what a transformers folder says of itself: family, task, head, labels, pooling, limits.

Reads JSON files only and imports neither torch nor transformers, so that a wrong folder is refused at once. What the
folder does not say and cannot be guessed is asked for by the name of the variable that says it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.errors import CheckpointError
from handlers.families import FAMILIES, Family

POOLINGS = ("mean", "cls", "max")
# What transformers appends to a family's name for each kind of head.
HEADS = {
    "ForMaskedLM": "mask",
    "ForSequenceClassification": "classification",
    "ForTokenClassification": "tokens",
    "ForQuestionAnswering": "span",
    "Model": "pooled",
}
TASKS = {"mask": "fill-mask", "tokens": "token-classification", "span": "question-answering", "pooled": "embedding"}
HEAD_OF_TASK = {
    "embedding": "pooled", "fill-mask": "mask", "text-classification": "classification", "rerank": "classification",
    "token-classification": "tokens", "question-answering": "span",
}  # fmt: skip
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spm.model")


@dataclass(frozen=True)
class TextFolder:
    """What a folder says. ``head`` is Settings.head of ``task``; ``limit`` the most tokens of one sequence."""

    path: Path
    config: dict[str, Any]
    family: Family
    task: str
    head: dict[str, Any]
    labels: tuple[str, ...]
    limit: int


def is_text_folder(path: Path) -> bool:
    """Whether a folder's config.json names one of the text families or no image architecture."""
    config = path / "config.json"
    return config.is_file() and "model_type" in _json(config) and not (path / "preprocessor_config.json").is_file()


def read_text_folder(path: Path, options: Mapping[str, Any], weights: bool = True) -> TextFolder:
    """Reads ``path``. ``options`` override what it says: task, pooling, max_length. ``weights``: they must be there.

    Raises CheckpointError.
    """
    config = _config(path)
    family = _family(path, config)
    if weights and not any((path / name).is_file() for name in WEIGHTS):
        raise CheckpointError(
            f"{path} has no weights; expected model.safetensors (or pytorch_model.bin) beside config.json: copy them "
            "there."
        )
    if not any((path / name).is_file() for name in TOKENIZERS):
        raise CheckpointError(
            f"{path} has no tokenizer; expected tokenizer.json or vocab.txt beside config.json: save it there with "
            "tokenizer.save_pretrained()."
        )
    task = _task(path, config, options.get("task", ""))
    head = {"kind": HEAD_OF_TASK[task]}
    if task == "embedding":
        head |= _pooling(path, options.get("pooling", ""))
    if head["kind"] == "classification":
        head["scores"] = _scores(path, config, task)
    labels = _labels(config) if head["kind"] in ("classification", "tokens") else ()
    return TextFolder(path, config, family, task, head, labels, _limit(path, config, family, options))


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not readable JSON ({type(error).__name__}); copy it again from the checkpoint's source."
        ) from None


def _config(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise CheckpointError(f"There is no {path}; MODEL= takes a checkpoint's folder, a weights file or a hub id.")
    if not (path / "config.json").is_file():
        raise CheckpointError(
            f"{path} has no config.json; expected a transformers folder with config.json, model.safetensors and the "
            "tokenizer's files: save one with model.save_pretrained() and tokenizer.save_pretrained()."
        )
    config = _json(path / "config.json")
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}/config.json is not a JSON object; copy it again from the checkpoint's source.")
    return config


def _family(path: Path, config: dict[str, Any]) -> Family:
    found = str(config.get("model_type", ""))
    if found not in FAMILIES:
        named = ", ".join(config.get("architectures") or []) or "unnamed"
        raise CheckpointError(
            f"{path} holds a {named} of model type {found!r}, which is not served here; served are encoders of the "
            f"types {', '.join(FAMILIES)}, and image classifiers of torchvision, timm and transformers."
        )
    if config.get("is_decoder"):
        raise CheckpointError(f"{path} is a decoder (is_decoder in its config.json); only encoders are served here.")
    return FAMILIES[found]


def _task(path: Path, config: dict[str, Any], wanted: str) -> str:
    """The task that the head fits; ``wanted``, where given, is checked against it."""
    head = _head(config)
    if wanted:
        return _fitting(path, config, head, wanted)
    if _embeds(path):
        return "embedding"
    if head == "classification":
        return _classifies(path, config)
    if head in TASKS:
        return TASKS[head]
    named = ", ".join(config.get("architectures") or []) or "none"
    raise CheckpointError(
        f"{path} does not say which task it is for (architectures in its config.json: {named}); name it with TASK=, "
        f"one of {', '.join(HEAD_OF_TASK)}."
    )


def _head(config: dict[str, Any]) -> str:
    """The kind of head by the first architecture's name; empty for one that is not known."""
    for name in (config.get("architectures") or [])[:1]:
        for suffix, head in HEADS.items():
            if name.endswith(suffix):
                return head
    return ""


def _fitting(path: Path, config: dict[str, Any], head: str, wanted: str) -> str:
    if wanted not in HEAD_OF_TASK:
        raise CheckpointError(f"TASK is {wanted!r}; for a text model it may be {', '.join(HEAD_OF_TASK)}.")
    fits = HEAD_OF_TASK[wanted] in ("pooled", head) or not head
    if not fits:
        named = config["architectures"][0]
        raise CheckpointError(
            f"TASK is {wanted} and {path} has the head of a {named}; give a checkpoint with that task's own head, or "
            "leave TASK out."
        )
    if wanted == "rerank" and (count := _outputs(config)) != 1:
        raise CheckpointError(
            f"TASK is rerank and {path} has {count} classes; a reranker has one output: use TASK=text-classification."
        )
    return wanted


def _embeds(path: Path) -> bool:
    """Whether sentence-transformers saved the folder as one that embeds."""
    return any(name.endswith("Pooling") for name in _modules(path))


def _modules(path: Path) -> list[str]:
    """The class names of sentence-transformers' modules, in order; none without modules.json."""
    listed = path / "modules.json"
    return [str(each.get("type", "")).rpartition(".")[2] for each in _json(listed)] if listed.is_file() else []


def _sentence_transformers(path: Path) -> dict[str, Any]:
    """What sentence-transformers wrote of itself beside the network."""
    own = path / "config_sentence_transformers.json"
    return _json(own) if own.is_file() else {}


def _outputs(config: dict[str, Any]) -> int:
    """Classes of a classification head: id2label's, or transformers' default of two."""
    return len(config["id2label"]) if config.get("id2label") else int(config.get("num_labels", 2))


def _classifies(path: Path, config: dict[str, Any]) -> str:
    if _outputs(config) != 1 or config.get("problem_type") in ("regression", "multi_label_classification"):
        return "text-classification"
    if _sentence_transformers(path).get("model_type") == "CrossEncoder" or "sentence_transformers" in config:
        return "rerank"
    raise CheckpointError(
        f"{path} has one output and does not say what it is for; name it with TASK=rerank (a score of a query and a "
        "text) or TASK=text-classification (a score of one text)."
    )


def _pooling(path: Path, wanted: str) -> dict[str, Any]:
    """How the folder makes one vector of a text's hidden states."""
    if wanted and wanted not in POOLINGS:
        raise CheckpointError(f"POOLING is {wanted!r}; it may be {', '.join(POOLINGS)}.")
    modules = _modules(path)
    unknown = sorted(set(modules) - {"Transformer", "Pooling", "Normalize"})
    if unknown:
        raise CheckpointError(
            f"{path}/modules.json has the module {unknown[0]}, which is not served here; served are Transformer, "
            "Pooling and Normalize."
        )
    if _sentence_transformers(path).get("default_prompt_name"):
        raise CheckpointError(
            f"{path} puts a prompt before every text (default_prompt_name in config_sentence_transformers.json), which "
            "is not served here; remove the key and send the prompt with each text."
        )
    if not wanted and "Pooling" not in modules:
        raise CheckpointError(
            f"{path} does not say how it pools its tokens to one vector; name it with POOLING=mean, POOLING=cls or "
            "POOLING=max, as the model's card says."
        )
    return {"pooling": wanted or _packaged_pooling(path), "normalize": "Normalize" in modules}


def _packaged_pooling(path: Path) -> str:
    folders = [each["path"] for each in _json(path / "modules.json") if str(each["type"]).endswith("Pooling")]
    config = _json(path / folders[0] / "config.json")
    mode = config.get("pooling_mode")
    if mode is None:  # before sentence-transformers 5 there was one key per mode
        old = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max"}
        chosen = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
        mode = [old.get(key, key) for key in chosen]
    modes = [mode] if isinstance(mode, str) else list(mode)
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise CheckpointError(
            f"{path}/{folders[0]} pools by {'+'.join(map(str, modes)) or 'nothing'}, which is not served here; served "
            f"are {', '.join(POOLINGS)}."
        )
    return modes[0]


def _scores(path: Path, config: dict[str, Any], task: str) -> str:
    """What turns logits into scores: "softmax", "sigmoid" or "none", as transformers' pipeline and CrossEncoder do."""
    if task == "rerank":
        old = config.get("sentence_transformers") or {}
        own = _sentence_transformers(path).get("activation_fn") or old.get("activation_fn")
        name = str(own or "Sigmoid").rpartition(".")[2]
        known = {"Sigmoid": "sigmoid", "Identity": "none"}
        if name not in known:
            raise CheckpointError(f"{path} scores by {name}, which is not served here; served are {', '.join(known)}.")
        return known[name]
    problem = config.get("problem_type")
    if problem == "regression":
        return "none"
    return "sigmoid" if problem == "multi_label_classification" or _outputs(config) == 1 else "softmax"


def _labels(config: dict[str, Any]) -> tuple[str, ...]:
    named = config.get("id2label") or {index: f"LABEL_{index}" for index in range(_outputs(config))}
    return tuple(str(named[key]) for key in sorted(named, key=int))


def _limit(path: Path, config: dict[str, Any], family: Family, options: Mapping[str, Any]) -> int:
    """Tokens of one sequence: what the checkpoint packages, but no more than it has positions for."""
    positions = int(config.get("max_position_embeddings", 512)) - family.positions_before
    packaged = [positions]
    for name, key in (("sentence_bert_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length")):
        if (path / name).is_file() and isinstance(found := _json(path / name).get(key), int):
            packaged.append(found)
    wanted = options.get("max_length")
    if wanted is None:
        return min(packaged)
    if not 2 < wanted <= positions:
        raise CheckpointError(f"MAX_LENGTH is {wanted} and {path} has {positions} positions; give 3 to {positions}.")
    return wanted
