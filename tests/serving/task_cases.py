"""A server with a small archive of each task with answers other than a plain embedding or a ranking of classes. Its
requests have the same items as JSON and as tensors; its expected answer is in JSON and in tensors."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from export import build as building
from export.cases import SAMPLES
from export.catalog import Row, variant
from export.own_models import adopt
from export.weights import Choice
from tests.checkpoints import write_checkpoint, write_cross_encoder
from tests.export.image_checkpoints import timm_file
from tests.forked import forking
from tests.token_checkpoints import labels, write_random
from tests.trust.place import Place, place

# TorchServe's management API refuses a URL with "token" in it, so archives do not have the names of their tasks.
NAMES = {
    "text-classification": "classes", "rerank": "ranks", "token-classification": "tags", "question-answering": "spans",
    "fill-mask": "masks", "image-embedding": "images",
}  # fmt: skip
VARIANT = "torchscript"  # its workers do not import transformers and timm, and start in half the time of eager ones
TEXTS = ("Ada Lovelace went to London.", "x", "déjà vu " * 30)
FLOWER, SEVEN = ((SAMPLES / name).read_bytes() for name in ("flower.jpg", "seven.png"))


@dataclass(frozen=True)
class Case:
    """``inputs`` are tensors of texts or files by name; ``parameters`` the task's options."""

    task: str
    inputs: Mapping[str, tuple[Any, ...]]
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def archive(self) -> str:
        """The archive that answers it."""
        return f"{NAMES[self.task]}-{VARIANT}"

    def body(self) -> dict[str, Any]:
        """The case as a JSON body."""
        words = {name: [base64.b64encode(each).decode() if isinstance(each, bytes) else each for each in values]
                 for name, values in self.inputs.items()}  # fmt: skip
        if self.task == "rerank":
            words = {"query": words["query"][0], "texts": words["texts"]}
        elif len(words) > 1:
            words = {"instances": [dict(zip(words, row, strict=True)) for row in zip(*words.values(), strict=True)]}
        return {**words, **({"parameters": dict(self.parameters)} if self.parameters else {})}

    def columns(self, answer: Any) -> dict[str, np.ndarray]:
        """The JSON answer as tensors, with the values in order."""
        if self.task == "image-embedding":
            return {"embedding": np.array(answer["embeddings"])}
        items = answer if self.task == "rerank" else answer["predictions"]
        rows: list[Any] = [each if isinstance(each, list) else [each] for each in items]
        if self.task == "fill-mask":  # an item with several masks has a list for each
            rows = [each if isinstance(each[0], list) else [each] for each in rows]
        names = next(record for record in _records(rows)).keys()
        found = {name: np.array([record[name] for record in _records(rows)]) for name in names}
        if self.task not in ("rerank", "text-classification"):
            found["item"] = np.array([at for at, each in enumerate(rows) for _ in each])
        return found


def _records(rows: list[Any]) -> Iterator[dict[str, Any]]:
    for each in rows:
        if isinstance(each, dict):
            yield each
        else:
            yield from _records(each)


CASES = {
    "classes": Case("text-classification", {"text": TEXTS}, {"top_k": 2}),
    "pairs": Case("text-classification", {"text": TEXTS, "text_pair": TEXTS[::-1]}),
    "ranking": Case("rerank", {"query": ("Who?",), "texts": TEXTS}),
    "entities": Case("token-classification", {"text": TEXTS}, {"aggregation_strategy": "first"}),
    "spans": Case(
        "question-answering", {"question": ("Who?", "Where?"), "context": (TEXTS[0], "Tom stays here. " * 9)},
        {"top_k": 3, "max_answer_tokens": 4},
    ),
    "masks": Case("fill-mask", {"text": ("Paris is the [MASK] of France.", "[MASK] and [MASK]")}, {"top_k": 3}),
    "images": Case("image-embedding", {"image": (FLOWER, SEVEN)}),
}  # fmt: skip


@contextmanager
def server(folder: Path) -> Iterator[Place]:
    """A running server with an archive of random weights for each of these tasks."""
    image = timm_file(folder)
    made = {
        "text-classification": write_checkpoint(folder / "classes", "bert", "classification", num_labels=3),
        "rerank": write_cross_encoder(folder / "ranks", "bert"),
        "token-classification": write_random(folder / "tags", "bert", "TokenClassification", **labels()),
        "question-answering": write_random(folder / "spans", "bert", "QuestionAnswering"),
        "fill-mask": write_checkpoint(folder / "masks", "bert", "fill-mask"),
    }
    given: dict[str, dict[str, str]] = {task: {"MODEL": str(path)} for task, path in made.items()}
    given["image-embedding"] = {"MODEL": str(image.source), "ARCH": image.architecture or "",
                                "LABELS": str(image.labels)}  # fmt: skip
    with place(folder / "place", folder, []) as running:
        running.environment |= {"MODELS_FILE": str(folder / "models.toml")}
        with mock.patch.dict(os.environ, running.environment), forking():
            for task, variables in given.items():
                _build(running.store, {**variables, "TASK": task, "NAME": NAMES[task]})
        running.serve(VARIANTS=VARIANT)
        yield running


def _build(store: Path, variables: Mapping[str, str]) -> None:
    adopted = adopt(variables)
    assert adopted
    building.build(Row(adopted[0], variant(VARIANT)[0]), "cpu", Choice(), store, lambda stage: None)
