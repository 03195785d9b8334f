"""Small checkpoints for tasks whose answers are spans of a text, saved by transformers as a user would.

A BERT is trained for seconds on tests/data, so that its answers mean something; the others have random weights, wide
enough for scores to differ by more than rounding.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from export import cases
from export.text_checkpoint import VOCABULARY

DATA = Path(__file__).with_name("data")
LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG")
TOKENS = 64  # of one sequence, so that windows are many and short
STEPS = 60
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}


def entity_sentences() -> list[tuple[str, list[tuple[int, int, str]]]]:
    """(sentence, [(from, to, tag) of each entity, in characters])."""
    found = []
    for line in (DATA / "entities.txt").read_text(encoding="utf-8").splitlines():
        text, spans = "", []
        for tag, name, plain in re.findall(r"\[(\w+) ([^\]]+)\]|([^\[]+)", line):
            if tag:
                spans.append((len(text), len(text) + len(name), tag))
            text += name or plain
        found.append((text, spans))
    return found


def questions() -> list[tuple[str, str, str]]:
    """(context, question, answer)."""
    lines = (DATA / "questions.tsv").read_text(encoding="utf-8").splitlines()
    return [tuple(line.split("\t")) for line in lines]


def labels() -> dict[str, Any]:
    """The settings of the labels in a config."""
    return {"id2label": dict(enumerate(LABELS)), "label2id": {label: at for at, label in enumerate(LABELS)}}


def word_piece(family: str) -> Any:
    """bert-base-uncased's tokenizer as the family's own class, with the words of tests/data and short pieces only."""
    import transformers

    texts = [text for text, _ in entity_sentences()] + [" ".join(each) for each in questions()]
    used = set(re.findall(r"\w+", " ".join(texts).lower()))
    words = [
        word
        for word in VOCABULARY.read_text(encoding="utf-8").splitlines()
        if word in used or len(word.removeprefix("##")) < 3 or word in SPECIAL
    ]
    kind = {"bert": transformers.BertTokenizer, "distilbert": transformers.DistilBertTokenizer}[family]
    return kind(vocab={word: at for at, word in enumerate(words)}, do_lower_case=True, model_max_length=TOKENS)


def byte_pairs() -> Any:
    """A byte-level BPE tokenizer as RoBERTa has it, trained on the sentences of the tests."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaTokenizer

    texts = [text for text, _ in entity_sentences()] + [" ".join(each) for each in questions()] + [*cases.SENTENCES]
    trainer = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer.train_from_iterator(texts, vocab_size=600, special_tokens=special, show_progress=False)
    merges = [tuple(pair) for pair in json.loads(trainer.to_str())["model"]["merges"]]
    return RobertaTokenizer(vocab=trainer.get_vocab(), merges=merges, model_max_length=TOKENS)


def write_random(directory: Path, family: str, head: str, **settings: Any) -> Path:
    """A checkpoint of ``family`` ("bert", "roberta" or "distilbert") with random weights; ``head`` as in
    "TokenClassification"."""
    import torch
    import transformers

    torch.manual_seed(11)
    tokenizer = byte_pairs() if family == "roberta" else word_piece(family)
    name = {"bert": "Bert", "roberta": "Roberta", "distilbert": "DistilBert"}[family]
    sizes = {"dim": 48, "n_layers": 2, "n_heads": 4, "hidden_dim": 96} if family == "distilbert" else SIZES
    before = 2 if family == "roberta" else 0
    config = getattr(transformers, f"{name}Config")(
        **sizes, **settings, vocab_size=len(tokenizer), max_position_embeddings=TOKENS + before,
        initializer_range=0.3, pad_token_id=tokenizer.pad_token_id,
        **({"type_vocab_size": 1} if family == "roberta" else {}),
    )  # fmt: skip
    getattr(transformers, f"{name}For{head}")(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def write_tagger(directory: Path) -> Path:
    """A BERT that finds the persons, places and organisations of tests/data/entities.txt."""
    import torch
    from transformers import BertForTokenClassification

    tokenizer, sentences = word_piece("bert"), entity_sentences()
    encoded = tokenizer([text for text, _ in sentences], padding=True, return_tensors="pt", return_offsets_mapping=True)
    targets = torch.full(encoded["input_ids"].shape, -100)
    for row, (_, spans) in enumerate(sentences):
        for at, (start, end) in enumerate(encoded["offset_mapping"][row].tolist()):
            if start < end:
                targets[row, at] = LABELS.index(_label(start, end, spans))
    network = BertForTokenClassification(_bert_config(tokenizer, **labels()))
    inputs = {name: encoded[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    _train(network, {**inputs, "labels": targets})
    return _save(network, tokenizer, directory)


def _label(start: int, end: int, spans: list[tuple[int, int, str]]) -> str:
    for first, last, tag in spans:
        if first <= start and end <= last:
            return f"B-{tag}" if start == first else f"I-{tag}"
    return "O"


def write_reader(directory: Path) -> Path:
    """A BERT that answers the questions of tests/data/questions.tsv."""
    import torch
    from transformers import BertForQuestionAnswering

    tokenizer, asked = word_piece("bert"), questions()
    encoded = tokenizer(
        [question for _, question, _ in asked], [context for context, _, _ in asked], padding=True,
        return_tensors="pt", return_offsets_mapping=True,
    )  # fmt: skip
    starts, ends = [], []
    for row, (context, _, answer) in enumerate(asked):
        first = context.index(answer)
        tokens = {
            offset: at
            for at, offset in enumerate(encoded["offset_mapping"][row].tolist())
            for offset in (("from", offset[0]), ("to", offset[1]))
            if encoded.sequence_ids(row)[at] == 1
        }
        starts.append(tokens["from", first])
        ends.append(tokens["to", first + len(answer)])
    network = BertForQuestionAnswering(_bert_config(tokenizer))
    inputs = {name: encoded[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    _train(network, {**inputs, "start_positions": torch.tensor(starts), "end_positions": torch.tensor(ends)})
    return _save(network, tokenizer, directory)


def _bert_config(tokenizer: Any, **settings: Any) -> Any:
    import torch
    from transformers import BertConfig

    torch.manual_seed(5)
    return BertConfig(
        **SIZES, **settings, vocab_size=len(tokenizer), max_position_embeddings=TOKENS, initializer_range=0.1
    )


def _train(network: Any, batch: dict[str, Any]) -> None:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several threads wait for each other on a busy machine
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(STEPS):
        optimizer.zero_grad()
        network(**batch).loss.backward()
        optimizer.step()
    torch.set_num_threads(threads)


def build_archive(task: str, folder: Path, variant: str, store: Path) -> Path:
    """The checked archive of a checkpoint folder in a variant, for the CPU."""
    from export.build import build
    from export.catalog import TEXT, Model, Row, Source
    from export.catalog import variant as named
    from export.weights import Choice
    from tests.forked import forking

    row = Row(Model(folder.name, task, Source("local", str(folder)), input=TEXT), named(variant)[0])
    with forking():
        build(row, "cpu", Choice(), store, lambda stage: None)
    return store / f"{row.name}.mar"


def built_once(task: str, folders: dict[str, Path], store: Path) -> Callable[[str, str], Path]:
    """``get(checkpoint, variant)``: its archive, built at the first call."""
    return cache(lambda name, variant: build_archive(task, folders[name], variant, store))


def ask(archive: Path, *batches: list[Any]) -> list[list[dict[str, Any]]]:
    """The replies to each batch of requests, in a fork of one process."""
    from export.dry_run import Batch
    from tests.forked import dry_run

    return dry_run(archive, [Batch(batch, False) for batch in batches], 8, "cpu").batches


def _save(network: Any, tokenizer: Any, directory: Path) -> Path:
    network.eval().save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory
