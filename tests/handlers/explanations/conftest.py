"""Services of archives with explanations. The networks are tiny, and the project builds their archives."""

import pytest

from export.build import build
from export.catalog import PHOTO, Model, Row, Source, variant
from export.catalog import TEXT as TEXTS
from export.weights import Choice
from tests.export.image_checkpoints import timm_file
from tests.forked import forking
from tests.handlers.explanations.explained import loaded
from tests.tiny import write_bert
from tests.token_checkpoints import write_random, write_reader, write_tagger

LABELS = {"id2label": {0: "good", 1: "bad", 2: "neither"}, "label2id": {"good": 0, "bad": 1, "neither": 2}}


def classifier(family):
    return "text-classification", lambda to: write_random(to, family, "SequenceClassification", **LABELS)


# name -> (task, what writes its checkpoint)
CHECKPOINTS = {
    **{family: classifier(family) for family in ("bert", "roberta", "distilbert")},
    "embedder": ("embedding", lambda to: write_bert(to, head=False)),
    "filler": ("fill-mask", write_bert),
    "ranker": ("rerank", lambda to: write_random(to, "bert", "SequenceClassification", num_labels=1)),
    "reader": ("question-answering", write_reader),
    "tagger": ("token-classification", write_tagger),
}


def built(model, folder):
    """Builds the model's archive in ``folder``. Returns its service."""
    with forking():
        build(Row(model, variant("explain")[0]), "cpu", Choice(), folder, lambda stage: None)
    service = loaded(folder / f"{model.name}-explain.mar", folder / "unpacked")
    service.archive = folder / f"{model.name}-explain.mar"
    return service


@pytest.fixture(scope="session")
def service(tmp_path_factory):
    """``get(name)`` returns the service of an archive, which is built at the first call."""
    found = {}

    def get(name):
        if name not in found:
            folder = tmp_path_factory.mktemp(name)
            task, write = CHECKPOINTS[name]
            options = {"pooling": "mean"} if task == "embedding" else {}
            model = Model(name, task, Source("local", str(write(folder / name))), options, input=TEXTS)
            found[name] = built(model, folder)
            found[name].checkpoint = folder / name
        return found[name]

    return get


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """The service of a small image classifier."""
    folder = tmp_path_factory.mktemp("pictures")
    found = timm_file(folder)
    options = {"architecture": found.architecture, "labels": str(found.labels)}
    model = Model("flowers", "image-classification", Source("local", str(found.source)), options, input=PHOTO)
    return built(model, folder)
