"""Reads the files that sentence-transformers adds to a network: modules, pooling, activation and prompts.

Raises CheckpointError for damaged files and for settings that this project does not support.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from export.errors import CheckpointError
from export.json_files import read_json, read_object

POOLINGS = ("mean", "cls", "max")
MODULES = {"embedding": ("Transformer", "Pooling", "Normalize"), "rerank": ("Transformer",)}
OLD_ACTIVATION = "sbert_ce_default_activation_function"  # config.json's key before sentence-transformers 4
ACTIVATIONS = {"Sigmoid": "sigmoid", "Identity": "none"}
SIGMOID = "torch.nn.modules.activation.Sigmoid"


def embeds(path: Path) -> bool:
    """Whether the folder has an embedding model."""
    return "Pooling" in _modules(path)


def reranks(path: Path, config: dict[str, Any]) -> bool:
    """Whether the folder has a cross-encoder; ``config`` is its config.json."""
    marked = any(key in config for key in ("sentence_transformers", OLD_ACTIVATION))
    return marked or _own(path).get("model_type") == "CrossEncoder"


def lowers(path: Path) -> bool:
    """Whether texts are lower-cased before they are tokenized."""
    return bool(read_object(path / "sentence_bert_config.json").get("do_lower_case"))


def check_modules(path: Path, task: str) -> None:
    """Refuses modules other than the network and its pooling."""
    foreign = [name for name in _types(path) if not name.startswith("sentence_transformers.")]
    if unknown := foreign or sorted(set(_modules(path)) - set(MODULES[task])):
        raise CheckpointError(
            f"{path}/modules.json has the module {unknown[0]}, which is not supported; for {task} the "
            f"supported ones are {', '.join(MODULES[task])}."
        )
    if _own(path).get("default_prompt_name"):
        raise CheckpointError(
            f"{path} adds a prompt to every text (default_prompt_name in config_sentence_transformers.json), which "
            "is not supported; remove the key and send the prompt with each text."
        )


def pooling(path: Path, wanted: str) -> dict[str, Any]:
    """The pooling of the folder, as keys of Settings.head. ``wanted`` overrides it."""
    if wanted and wanted not in POOLINGS:
        raise CheckpointError(f"POOLING is {wanted!r}; it may be {', '.join(POOLINGS)}.")
    modules = _modules(path)
    if not wanted and "Pooling" not in modules:
        raise CheckpointError(
            f"{path} does not say how it pools its tokens to one vector; name it with POOLING=mean, POOLING=cls or "
            "POOLING=max, as the model's card says."
        )
    return {"pooling": wanted or _packaged_pooling(path), "normalize": "Normalize" in modules}


def _packaged_pooling(path: Path) -> str:
    folders = [each["path"] for each in _listed(path) if each["type"].endswith("Pooling")]
    config = read_object(path / folders[0] / "config.json")
    mode = config.get("pooling_mode")
    if mode is None:  # before sentence-transformers 5 there was one key per mode
        old = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max"}
        chosen = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
        mode = [old.get(key, key) for key in chosen]
    modes = mode if isinstance(mode, list) else [mode]
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise CheckpointError(
            f"{path}/{folders[0]} pools by {'+'.join(map(str, modes)) or 'nothing'}, which is not supported; the "
            f"supported ones are {', '.join(POOLINGS)}."
        )
    return str(modes[0])


def activation(path: Path, config: dict[str, Any]) -> str:
    """The function from a cross-encoder's logit to its score: "sigmoid" or "none"."""
    old = (config.get("sentence_transformers") or {}).get("activation_fn") or config.get(OLD_ACTIVATION)
    name = str(_own(path).get("activation_fn") or old or SIGMOID)
    function = ACTIVATIONS.get(name.rpartition(".")[2], "") if name.startswith("torch.") else ""
    if not function:
        raise CheckpointError(
            f"{path} scores by {name}, which is not supported; use torch.nn's {' or '.join(ACTIVATIONS)}."
        )
    return function


def _modules(path: Path) -> list[str]:
    """The class names of sentence-transformers' modules, in order; none without modules.json."""
    return [name.rpartition(".")[2] for name in _types(path)]


def _types(path: Path) -> list[str]:
    """The full class names of sentence-transformers' modules, in order."""
    return [each["type"] for each in _listed(path)]


def _listed(path: Path) -> list[dict[str, str]]:
    """The entries of modules.json, each with its "type" and the "path" of its folder."""
    file = path / "modules.json"
    found = read_json(file) if file.is_file() else []
    if not isinstance(found, list) or not all(
        isinstance(each, dict) and isinstance(each.get("type"), str) and isinstance(each.get("path"), str)
        for each in found
    ):
        raise CheckpointError(f"{file} is not sentence-transformers' list of modules; copy it again from the source.")
    return found


def _own(path: Path) -> dict[str, Any]:
    """The content of sentence-transformers' own config file."""
    return read_object(path / "config_sentence_transformers.json")
