"""Reads the facts of a model from a transformers folder: family, task, head, labels, pooling, limits.

Reads only JSON files and imports neither torch nor transformers, so that a wrong folder is refused at once. If a needed
value is missing, the error names the make variable for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export import packaged
from export.errors import CheckpointError
from export.images.labels import choose_labels
from export.json_files import read_object
from export.tasks import TASKS
from handlers.families import FAMILIES, Family

# The suffix that transformers appends to a family's name for each kind of head.
HEADS = {
    "LMHeadModel": "",  # it also ends with "Model", but generates text
    "ForMaskedLM": "mask",
    "ForSequenceClassification": "classification",
    "ForTokenClassification": "tokens",
    "ForQuestionAnswering": "span",
    "Model": "pooled",
}
HEAD_OF_TASK = {name: task.head for name, task in TASKS.items() if task.kind == "text"}
# Two tasks share the head of classification; _classifies tells them apart.
TASK_OF_HEAD = {head: name for name, head in HEAD_OF_TASK.items() if head != "classification"}
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spm.model")


@dataclass(frozen=True)
class TextFolder:
    """The facts of a folder. ``head`` is Settings.head of ``task``; ``limit`` is the largest number of tokens of one
    sequence.

    ``lower``: sentence-transformers lower-cases texts before they are tokenized. ``packaged``: the folder's own pooling
    is used.
    """

    path: Path
    config: dict[str, Any]
    family: Family
    task: str
    head: dict[str, Any]
    labels: tuple[str, ...]
    limit: int
    lower: bool = False
    packaged: bool = False


def read_text_folder(path: Path, options: Mapping[str, Any], weights: bool = True) -> TextFolder:
    """Reads ``path``. ``options`` override its task, labels, pooling and max_length. ``weights``: the weights must be
    present.

    Raises CheckpointError.
    """
    try:
        return _read(path, options, weights)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); give a folder that you may read.") from None


def _read(path: Path, options: Mapping[str, Any], weights: bool) -> TextFolder:
    config = _config(path)
    family = _family(path, config)
    if weights:
        _has_files(path)
    task = _task(path, config, options.get("task", ""))
    head = {"kind": HEAD_OF_TASK[task]}
    if task in packaged.MODULES:
        packaged.check_modules(path, task)
    if options.get("pooling") and task != "embedding":
        raise CheckpointError(f"POOLING is {options['pooling']} and the task of {path} is {task}: leave it out.")
    if task == "embedding":
        head |= packaged.pooling(path, options.get("pooling", ""))
    if head["kind"] == "classification":
        head["scores"] = _scores(path, config, task)
    labels = _labels(path, config) if head["kind"] in ("classification", "tokens") else ()
    if options.get("labels"):
        labels = _given_labels(path, () if task == "rerank" else labels, Path(options["labels"]))
    return TextFolder(
        path, config, family, task, head, labels, _limit(path, config, family, options),
        lower=task in packaged.MODULES and packaged.lowers(path),
        packaged=task == "embedding" and not options.get("pooling"),
    )  # fmt: skip


def _given_labels(path: Path, own: tuple[str, ...], given: Path) -> tuple[str, ...]:
    """The labels of the file LABELS=, one for each class of the checkpoint."""
    if not own:
        raise CheckpointError(f"LABELS is {given} and the task of {path} answers without labels: leave it out.")
    return choose_labels(given, (), len(own), path)


def _has_files(path: Path) -> None:
    if not any((path / name).is_file() for name in WEIGHTS):
        raise CheckpointError(
            f"{path} has no weights; expected model.safetensors (or pytorch_model.bin) beside config.json: copy them "
            "there."
        )
    if not any((path / name).is_file() for name in TOKENIZERS):
        raise CheckpointError(
            f"{path} has no tokenizer; expected tokenizer.json or vocab.txt beside config.json: save it there with "
            "tokenizer.save_pretrained()."
        )


# The keys of config.json that are read, with the types that transformers writes.
TYPES = {
    "model_type": str, "architectures": list, "id2label": dict, "num_labels": int, "problem_type": str, "dim": int,
    "max_position_embeddings": int, "type_vocab_size": int, "hidden_size": int, "vocab_size": int,
    "sentence_transformers": dict,
}  # fmt: skip


def _config(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise CheckpointError(f"There is no {path}; MODEL= takes a checkpoint's folder, a weights file or a hub id.")
    if not path.is_dir():
        raise CheckpointError(
            f"{path} is a file; a text model is a transformers folder with config.json, model.safetensors and the "
            "tokenizer's files: give the folder."
        )
    if not (path / "config.json").is_file():
        raise CheckpointError(
            f"{path} has no config.json; expected a transformers folder with config.json, model.safetensors and the "
            "tokenizer's files: save one with model.save_pretrained() and tokenizer.save_pretrained()."
        )
    config = read_object(path / "config.json")
    for key, kind in TYPES.items():
        if config.get(key) is not None and not isinstance(config[key], kind):
            raise CheckpointError(
                f"{path}/config.json has {type(config[key]).__name__} for {key}; expected {kind.__name__}: copy it "
                "again from the checkpoint's source."
            )
    return config


def _family(path: Path, config: dict[str, Any]) -> Family:
    found = str(config.get("model_type", ""))
    if found not in FAMILIES:
        named = _architectures(config) or "network without a name"
        raise CheckpointError(
            f"{path} holds a {named} of the model type {found!r}, which is not supported; the supported ones are "
            f"encoders of the types {', '.join(FAMILIES)}, and image classifiers of torchvision, timm and transformers."
        )
    if config.get("is_decoder"):
        raise CheckpointError(f"{path} is a decoder (is_decoder in its config.json); only encoders are supported.")
    return FAMILIES[found]


def _task(path: Path, config: dict[str, Any], wanted: str) -> str:
    """The task of the head. ``wanted``, if given, must fit the head."""
    head = _head(config)
    if wanted:
        return _fitting(path, config, head, wanted)
    if packaged.embeds(path):
        return "embedding"
    if head == "classification":
        return _classifies(path, config)
    if head in TASK_OF_HEAD:
        return TASK_OF_HEAD[head]
    named = _architectures(config) or "none"
    raise CheckpointError(
        f"{path} does not say which task it is for (architectures in its config.json: {named}); name it with TASK=, "
        f"one of {', '.join(HEAD_OF_TASK)}."
    )


def _architectures(config: dict[str, Any]) -> str:
    return ", ".join(map(str, config.get("architectures") or []))


def _head(config: dict[str, Any]) -> str:
    """The kind of head, from the first architecture's name; empty for an unknown one."""
    for name in (config.get("architectures") or [])[:1]:
        for suffix, head in HEADS.items():
            if str(name).endswith(suffix):
                return head
    return ""


def _fitting(path: Path, config: dict[str, Any], head: str, wanted: str) -> str:
    if wanted not in HEAD_OF_TASK:
        raise CheckpointError(f"TASK is {wanted!r}; for a text model it may be {', '.join(HEAD_OF_TASK)}.")
    fits = HEAD_OF_TASK[wanted] in ("pooled", head) or not head
    if not fits:
        named = config["architectures"][0]
        raise CheckpointError(
            f"{path} has the head of a {named}, which does not fit the task {wanted}; give a checkpoint of that "
            f"task, or build it for its own task: make archive MODEL={path}"
        )
    if wanted == "rerank" and (count := _outputs(config)) != 1:
        raise CheckpointError(
            f"TASK is rerank and {path} has {count} classes; a reranker has one output: use TASK=text-classification."
        )
    return wanted


def _outputs(config: dict[str, Any]) -> int:
    """The number of classes of a classification head: that of id2label, or transformers' default of two."""
    return len(config["id2label"]) if config.get("id2label") else int(config.get("num_labels") or 2)


def _classifies(path: Path, config: dict[str, Any]) -> str:
    if _outputs(config) != 1 or config.get("problem_type") in ("regression", "multi_label_classification"):
        return "text-classification"
    if packaged.reranks(path, config):
        return "rerank"
    raise CheckpointError(
        f"{path} has one output and does not say what it is for; name it with TASK=rerank (a score of a query and a "
        "text) or TASK=text-classification (a score of one text)."
    )


def _scores(path: Path, config: dict[str, Any], task: str) -> str:
    """The function that turns logits into scores: "softmax", "sigmoid" or "none", as transformers' pipeline and
    CrossEncoder do."""
    if task == "rerank":
        return packaged.activation(path, config)
    problem = config.get("problem_type")
    if problem == "regression":
        return "none"
    return "sigmoid" if problem == "multi_label_classification" or _outputs(config) == 1 else "softmax"


def _labels(path: Path, config: dict[str, Any]) -> tuple[str, ...]:
    named = config.get("id2label") or {index: f"LABEL_{index}" for index in range(_outputs(config))}
    by_class = {str(key): str(label) for key, label in named.items()}
    expected = [str(index) for index in range(len(by_class))]
    if sorted(by_class) != sorted(expected):
        raise CheckpointError(
            f"{path}/config.json has id2label for the classes {', '.join(list(by_class)[:5])}; expected one label for "
            f"each of 0 to {len(by_class) - 1}: correct it."
        )
    return tuple(by_class[key] for key in expected)


def _limit(path: Path, config: dict[str, Any], family: Family, options: Mapping[str, Any]) -> int:
    """The largest number of tokens of one sequence: the checkpoint's own limit, but at most its number of positions."""
    positions = int(config.get("max_position_embeddings") or 512) - family.positions_before
    packaged = [positions]
    for name, key in (("sentence_bert_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length")):
        if isinstance(found := read_object(path / name).get(key), int):
            packaged.append(found)
    wanted: int | None = options.get("max_length")
    if wanted is None:
        return min(packaged)
    if not 2 < wanted <= positions:
        raise CheckpointError(f"MAX_LENGTH is {wanted} and {path} has {positions} positions; give 3 to {positions}.")
    return wanted
