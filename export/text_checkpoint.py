"""Converts a transformers folder to the files of text archives.

These are config.json, model.safetensors, tokenizer.json and labels.json.

Weights are read from safetensors, or from torch's own files, of which only tensors are read. A missing head is an
error. Random weights are used only on request.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from export.checkpoint import Checkpoint
from export.errors import CheckpointError
from export.text_folder import TextFolder
from export.weight_files import read_tensors
from handlers.architectures import AUTO_CLASSES
from handlers.settings import TextInput

VOCABULARY = Path(__file__).parent / "data" / "bert-base-uncased-vocab.txt"
SEED = 0
# Files that sentence-transformers adds to the network.
PACKAGED = (
    "modules.json", "config_sentence_transformers.json", "sentence_bert_config.json", "1_Pooling", "2_Normalize",
)  # fmt: skip


def write_text(folder: TextFolder, limits: dict[str, int], label: str, random: bool, directory: Path) -> Checkpoint:
    """Writes the archive's files into ``directory``. ``limits`` are keys of TextInput, in characters.

    Raises CheckpointError.
    """
    with explained(folder.path):
        network, tokenizer = load(folder)
        # The tensors get the names of the installed transformers, which may differ from those in the file.
        network.save_pretrained(directory, save_original_format=False)
        if folder.lower:
            _lower(tokenizer.backend_tokenizer)
        tokenizer.backend_tokenizer.save(str(directory / "tokenizer.json"))
        if folder.labels:
            (directory / "labels.json").write_text(json.dumps(folder.labels))
        text = TextInput(
            max_length=folder.limit, pad_id=_pad_id(folder, tokenizer), vocabulary=network.config.vocab_size,
            mask_token=_mask_token(folder, tokenizer),
            unknown_id=-1 if tokenizer.unk_token_id is None else tokenizer.unk_token_id, **limits,
        )  # fmt: skip
    config = json.loads((directory / "config.json").read_text())
    return Checkpoint(
        directory, folder.path, label, random, head=folder.head, text=text, labels=folder.labels, config=config,
        facts={"packaged": folder.packaged},
    )  # fmt: skip


def load(folder: TextFolder) -> tuple[Any, Any]:
    """(network, tokenizer) of a folder, fp32, in eval mode. Raises CheckpointError if the weights have no head."""
    import torch
    import transformers

    kind = folder.head["kind"]
    # With use_safetensors, transformers does not open a pickle in the folder.
    arguments: dict[str, Any] = {"local_files_only": True, "use_safetensors": True, "dtype": torch.float32}
    if kind == "pooled" and folder.family.pooler:
        arguments["add_pooling_layer"] = False
    name = folder.family.architecture + (AUTO_CLASSES[kind].removeprefix("AutoModel") or "Model")
    with _safetensors(folder.path) as source:
        network, info = getattr(transformers, name).from_pretrained(
            source, **arguments, ignore_mismatched_sizes=True, output_loading_info=True
        )
    if mismatched := sorted(info["mismatched_keys"]):
        tensor, found, expected = mismatched[0]
        raise CheckpointError(
            f"{folder.path} has {tensor} of {_shape(found)} in its weights and of {_shape(expected)} by its "
            "config.json; correct that (id2label has one label per class), or copy both again from one source."
        )
    if info["missing_keys"]:
        raise CheckpointError(
            f"{folder.path} lacks {', '.join(sorted(info['missing_keys'])[:3])}, which {type(network).__name__} needs; "
            "give a checkpoint that has this head; none is added."
        )
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder.path, local_files_only=True)
    # Without the tokenizer's files, transformers would make a tokenizer of the special tokens alone.
    if not len(tokenizer.all_special_ids) < len(tokenizer) <= network.config.vocab_size:
        raise CheckpointError(
            f"{folder.path} has a tokenizer of {len(tokenizer)} tokens and a model of {network.config.vocab_size}; "
            "give both of one checkpoint, the tokenizer as tokenizer.json or vocab.txt."
        )
    return network.eval(), tokenizer


@contextlib.contextmanager
def _safetensors(path: Path) -> Iterator[Path]:
    """A folder with the checkpoint's weights as safetensors: the checkpoint's own, or a temporary one with the tensors
    of its pytorch_model.bin."""
    if any(path.glob("model*.safetensors")):
        yield path
        return
    from safetensors.torch import save_file

    state = read_tensors(path / "pytorch_model.bin")
    with tempfile.TemporaryDirectory(prefix="safetensors-") as scratch:
        shutil.copyfile(path / "config.json", Path(scratch, "config.json"))
        # Cloned, since tied weights share their memory and safetensors does not write such tensors.
        tensors = {name: tensor.clone().contiguous() for name, tensor in state.items()}
        save_file(tensors, Path(scratch, "model.safetensors"), {"format": "pt"})
        yield Path(scratch)


def _shape(dims: Sequence[int]) -> str:
    return " x ".join(map(str, dims))


def _lower(tokenizer: Any) -> None:
    """Adds lower-casing as the tokenizer's first step, as sentence-transformers' Transformer does."""
    from tokenizers import normalizers

    rest = [tokenizer.normalizer] if tokenizer.normalizer else []
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *rest])


def _pad_id(folder: TextFolder, tokenizer: Any) -> int:
    if tokenizer.pad_token_id is None:
        raise CheckpointError(f"The tokenizer of {folder.path} has no padding token; save it with one.")
    return int(tokenizer.pad_token_id)


def _mask_token(folder: TextFolder, tokenizer: Any) -> str:
    if folder.head["kind"] != "mask":
        return ""
    if not tokenizer.mask_token:
        raise CheckpointError(f"The tokenizer of {folder.path} has no mask token, which fill-mask needs.")
    return str(tokenizer.mask_token)


def random_folder(folder: TextFolder, directory: Path) -> Path:
    """A folder in ``directory`` with the checkpoint's own config and tokenizer and seeded random weights."""
    import torch
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder.path, local_files_only=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder.path, local_files_only=True)
    torch.manual_seed(SEED)
    getattr(transformers, AUTO_CLASSES[folder.head["kind"]]).from_config(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    for name in PACKAGED:
        kept = folder.path / name
        if kept.is_dir():
            shutil.copytree(kept, directory / name)
        elif kept.is_file():
            shutil.copyfile(kept, directory / name)
    return directory


def plain_bert(directory: Path) -> Path:
    """bert-base-uncased's own config and tokenizer without its weights."""
    # BertTokenizerFast is an alias that transformers makes at import.
    from transformers import BertConfig, BertTokenizerFast  # type: ignore[attr-defined]

    BertConfig(architectures=["BertForMaskedLM"]).save_pretrained(directory)
    words = VOCABULARY.read_text(encoding="utf-8").splitlines()
    vocabulary = {word: index for index, word in enumerate(words)}
    BertTokenizerFast(vocab=vocabulary, do_lower_case=True, model_max_length=512).save_pretrained(directory)
    return directory


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Replaces the libraries' errors for a damaged checkpoint by a CheckpointError of one sentence."""
    try:
        yield
    except CheckpointError:
        raise
    # transformers, tokenizers and safetensors raise many kinds of errors for damaged files, also Exception itself.
    except Exception as error:
        detail = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise CheckpointError(
            f"{path} cannot be loaded ({type(error).__name__}: {detail}); copy it again, or save it with "
            "save_pretrained()."
        ) from error
