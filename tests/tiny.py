"""Small stand-ins for published weights: the real loading code reads them; only the numbers differ from bert-base's."""

from __future__ import annotations

from pathlib import Path

from export.catalog import model
from export.text_checkpoint import VOCABULARY


def write_bert(directory: Path, head: bool = True, outliers: bool = False) -> Path:
    """A two-layer BERT with bert-base-uncased's vocabulary, as a transformers folder. ``head``: with its MLM head.
    ``outliers``: this number of channels is a thousand times as large as the others, so that int8 differs."""
    import torch
    from transformers import BertConfig, BertForMaskedLM, BertModel, BertTokenizerFast

    torch.manual_seed(7)
    config = BertConfig(hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96)
    config.initializer_range = 0.1  # wide, so that scores differ by more than the rounding of int8
    network = BertForMaskedLM(config) if head else BertModel(config)
    if outliers:
        for layer in network.bert.encoder.layer:
            layer.intermediate.dense.weight.data[:48] *= 1000
            layer.output.dense.weight.data[:, :48] /= 1000
    network.save_pretrained(directory)
    words = VOCABULARY.read_text(encoding="utf-8").splitlines()
    BertTokenizerFast(vocab={w: i for i, w in enumerate(words)}, do_lower_case=True).save_pretrained(directory)
    return directory


def write_hub(hub: Path) -> Path:
    """The hub's cache layout (models--owner--name/snapshots/revision, refs) with the catalog's id and revision, and a
    network that answers the catalog's example as the published one does."""
    row = model("bert")
    source = row.source
    repository = hub / ("models--" + source.name.replace("/", "--"))
    prefer(write_bert(repository / "snapshots" / source.revision), row.expect)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(source.revision)
    return hub


def prefer(folder: Path, word: str) -> None:
    """Raises the bias of ``word`` in the folder's masked language model until it is the best answer everywhere. The
    other words keep their order and their distances."""
    import torch
    from transformers import BertForMaskedLM, BertTokenizerFast

    network, tokenizer = BertForMaskedLM.from_pretrained(folder), BertTokenizerFast.from_pretrained(folder)
    with torch.no_grad():
        network.cls.predictions.bias[tokenizer.convert_tokens_to_ids(word)] += 10
    network.save_pretrained(folder)
