"""Small real checkpoints of every text family, made and saved by transformers and sentence-transformers themselves.

Their configurations differ from the libraries' defaults, so that a setting which is ignored shows as a difference.
Weights are seeded and wide, so that outputs differ by more than rounding.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from export.text_checkpoint import VOCABULARY

DATA = Path(__file__).parent / "data"
SENTENCES = Path(__file__).parent.parent / "loadtest" / "data" / "sentences.txt"
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]

FAMILIES = ("bert", "roberta", "xlm-roberta", "camembert", "distilbert", "mpnet", "electra")
# What differs from each family's defaults; 64 tokens fit into one sequence of each.
COMMON = {"initializer_range": 0.3, "hidden_act": "gelu_new", "layer_norm_eps": 1e-3}
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
CONFIGS: dict[str, dict[str, Any]] = {
    "bert": {"max_position_embeddings": 64, "pad_token_id": 0, **SIZES, **COMMON},
    "roberta": {"max_position_embeddings": 66, "type_vocab_size": 1, **SIZES, **COMMON},
    "xlm-roberta": {"max_position_embeddings": 66, "type_vocab_size": 1, **SIZES, **COMMON},
    "camembert": {"max_position_embeddings": 66, "type_vocab_size": 1, **SIZES, **COMMON},
    "distilbert": {
        "max_position_embeddings": 64, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48,
        "initializer_range": 0.3, "activation": "relu", "sinusoidal_pos_embds": True,
    },
    "mpnet": {"max_position_embeddings": 66, **SIZES, **COMMON},
    "electra": {"max_position_embeddings": 64, "embedding_size": 24, **SIZES, **COMMON},
}  # fmt: skip
HEADS = {
    "encoder": "AutoModel",
    "fill-mask": "AutoModelForMaskedLM",
    "classification": "AutoModelForSequenceClassification",
    "tokens": "AutoModelForTokenClassification",
    "span": "AutoModelForQuestionAnswering",
}


def write_checkpoint(folder: Path, family: str, head: str, **config: Any) -> Path:
    """A transformers folder of ``family`` with a head of ``HEADS``; ``config`` is added to its configuration."""
    made, tokenizer = network(family, head, **config), tokenizer_of(family)
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def network(family: str, head: str, **config: Any) -> Any:
    """A seeded network, in eval mode."""
    import torch
    import transformers

    tokenizer = tokenizer_of(family)
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")}
    settings = {"vocab_size": len(tokenizer), **ids, **CONFIGS[family], **config}
    torch.manual_seed(7)
    made = getattr(transformers, HEADS[head]).from_config(transformers.AutoConfig.for_model(family, **settings))
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.ndim == 1 and "norm" not in name.lower():
                parameter.normal_(std=0.3)  # biases are zero at first
    return made.eval()


def write_embedder(folder: Path, family: str, pooling: str, normalize: bool, lower: bool = False) -> Path:
    """A folder that sentence-transformers saved: the network, its pooling, and unit length where ``normalize``."""
    from sentence_transformers import SentenceTransformer, models

    source = write_checkpoint(folder.with_name(f"{folder.name}-network"), family, "encoder")
    transformer = models.Transformer(str(source), max_seq_length=24, do_lower_case=lower)
    pooled = models.Pooling(32, pooling_mode=pooling)
    modules = [transformer, pooled, *([models.Normalize()] if normalize else [])]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder))
    return folder


def write_cross_encoder(folder: Path, family: str, activation: Any = None) -> Path:
    """A reranker that sentence-transformers saved. ``activation`` is a torch module, by default Sigmoid."""
    from sentence_transformers import CrossEncoder

    source = write_checkpoint(folder.with_name(f"{folder.name}-network"), family, "classification", num_labels=1)
    CrossEncoder(str(source), device="cpu", max_length=40, activation_fn=activation).save_pretrained(str(folder))
    return folder


def topics() -> list[tuple[str, str]]:
    """(topic, sentence): 20 short English sentences for each of three topics."""
    lines = (DATA / "topics.tsv").read_text(encoding="utf-8").splitlines()
    return [(topic, sentence) for topic, _, sentence in (line.partition("\t") for line in lines)]


def write_topic_classifier(folder: Path) -> Path:
    """A BERT that was fine-tuned on ``topics`` until it knows them; labels are the topics' names."""
    import torch

    labelled = topics()
    names = sorted({topic for topic, _ in labelled})
    made = network("bert", "classification", num_labels=len(names), initializer_range=0.1).train()
    tokenizer = tokenizer_of("bert")
    made.config.id2label, made.config.label2id = dict(enumerate(names)), {name: i for i, name in enumerate(names)}
    batch = tokenizer([sentence for _, sentence in labelled], padding=True, return_tensors="pt")
    wanted = torch.tensor([names.index(topic) for topic, _ in labelled])
    with one_thread():  # several threads are slow on a busy machine, since they wait for each other
        optimizer = torch.optim.AdamW(made.parameters(), lr=3e-3)
        for _ in range(40):
            made(**batch, labels=wanted).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    made.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Runs torch on one thread."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def tokenizer_of(family: str) -> Any:
    """A fast tokenizer of the family's own type."""
    if family not in _TOKENIZERS:
        makers: dict[str, Callable[[], Any]] = {
            "roberta": _byte_level, "xlm-roberta": _unigram, "camembert": _unigram_french, "mpnet": _mpnet,
        }  # fmt: skip
        _TOKENIZERS[family] = makers.get(family, lambda: _word_piece(family))()
    return _TOKENIZERS[family]


_TOKENIZERS: dict[str, Any] = {}


def _texts() -> list[str]:
    return SENTENCES.read_text(encoding="utf-8").splitlines() + [sentence for _, sentence in topics()]


def _words() -> list[str]:
    return VOCABULARY.read_text(encoding="utf-8").splitlines()


def _word_piece(family: str) -> Any:
    import transformers

    kind = {"bert": "BertTokenizerFast", "distilbert": "DistilBertTokenizerFast", "electra": "ElectraTokenizerFast"}
    vocabulary = {word: index for index, word in enumerate(_words())}
    return getattr(transformers, kind[family])(vocab=vocabulary, do_lower_case=True, model_max_length=64)


def _mpnet() -> Any:
    from transformers import MPNetTokenizerFast

    words = [*SPECIAL, *(word for word in _words() if not word.startswith("[")), "[UNK]", "<mask>"]
    return MPNetTokenizerFast(vocab={word: index for index, word in enumerate(words)}, model_max_length=64)


def _byte_level() -> Any:
    import json

    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaTokenizerFast

    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(_texts(), vocab_size=800, special_tokens=[*SPECIAL, "<mask>"], show_progress=False)
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(each) for each in model["merges"]]
    return RobertaTokenizerFast(vocab=model["vocab"], merges=merges, model_max_length=64)


def _pieces(special: list[str]) -> list[tuple[str, float]]:
    import json

    from tokenizers import SentencePieceUnigramTokenizer

    trained = SentencePieceUnigramTokenizer()
    trained.train_from_iterator(
        _texts(), vocab_size=600, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False
    )
    found = [(piece, score) for piece, score in json.loads(trained.to_str())["model"]["vocab"] if piece != "<unk>"]
    return [*((name, 0.0) for name in special), *found, ("<mask>", 0.0)]


def _unigram() -> Any:
    from transformers import XLMRobertaTokenizerFast

    return XLMRobertaTokenizerFast(vocab=_pieces(SPECIAL), model_max_length=64)


def _unigram_french() -> Any:
    from transformers import CamembertTokenizerFast

    return CamembertTokenizerFast(vocab=_pieces(SPECIAL), model_max_length=64)
