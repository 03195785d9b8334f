"""A folder that cannot be served is refused in one sentence that says how to fix it, and the store does not change."""

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from export.catalog import Row, variant
from export.text_folder import read_text_folder
from export.weights import CheckpointError, Choice, write_checkpoint
from tests import checkpoints
from tests.conftest import run
from tests.through_archive import local


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (os.mkdir, (str(self.mark),))


def silent(text):
    return None


@pytest.fixture(scope="session")
def sound(tmp_path_factory):
    """Valid folders: a classifier with three labels, a network without a head, and an embedding model."""
    folder = tmp_path_factory.mktemp("sound")
    checkpoints.write_checkpoint(folder / "classifier", "bert", "classification", num_labels=3)
    checkpoints.write_checkpoint(folder / "encoder", "bert", "encoder")
    checkpoints.write_checkpoint(folder / "filler", "roberta", "fill-mask")
    checkpoints.write_embedder(folder / "embedder", "bert", "mean", True)
    return folder


def changed(folder, name="config.json", **values):
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def without(folder, *names):
    for name in names:
        for path in folder.glob(name):
            path.unlink()


def cut(folder, name):
    path = folder / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def headless(folder):
    weights = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if not name.startswith("classifier")}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})


def as_file(folder):
    shutil.rmtree(folder)
    folder.write_text("weights")


CLASSIFIER, ENCODER, EMBEDDER, FILLER = "classifier", "encoder", "embedder", "filler"
T = "text-classification"
WRONG = {
    "no such folder": (CLASSIFIER, T, {}, shutil.rmtree, "There is no .*; MODEL= takes a checkpoint's folder"),
    "a file": (CLASSIFIER, T, {}, as_file, "is a file; a text model is a transformers folder"),
    "no config": (CLASSIFIER, T, {}, lambda f: without(f, "config.json"), "has no config.json; expected a"),
    "no tokenizer": (CLASSIFIER, T, {}, lambda f: without(f, "tokenizer*"), "has no tokenizer; expected"),
    "no weights": (CLASSIFIER, T, {}, lambda f: without(f, "*.safetensors"), "has no weights; expected"),
    "no head": (CLASSIFIER, T, {}, headless, "lacks classifier.bias, classifier.weight, which .* none is added"),
    "a head for another task": (CLASSIFIER, "fill-mask", {}, None, "which does not fit the task fill-mask"),
    "no head for the task": (ENCODER, T, {}, None, "which does not fit the task text-cl"),
    "several classes to rerank by": (CLASSIFIER, "rerank", {}, None, "has 3 classes; a reranker has one output"),
    "fewer labels than classes": (
        CLASSIFIER, T, {}, lambda f: changed(f, id2label={"0": "a", "1": "b"}),
        r"has classifier\.(bias|weight) of 3.* in its weights and of 2.* by its config.json",
    ),
    "labels from 1": (
        CLASSIFIER, T, {}, lambda f: changed(f, id2label={"1": "a", "2": "b", "3": "c"}),
        "id2label for the classes 1, 2, 3; expected one label for each of 0 to 2",
    ),
    "labels by name": (
        CLASSIFIER, T, {}, lambda f: changed(f, id2label={"a": 0, "b": 1, "c": 2}), "id2label for the classes a, b, c;",
    ),
    "labels as a list": (
        CLASSIFIER, T, {}, lambda f: changed(f, id2label=["a", "b", "c"]), "has list for id2label; expected dict",
    ),
    "JSON that ends early": (CLASSIFIER, T, {}, lambda f: cut(f, "config.json"), "config.json is not readable JSON"),
    "JSON of another kind": (CLASSIFIER, T, {}, lambda f: (f / "config.json").write_text("[1]"), "not a JSON object"),
    "positions in words": (
        CLASSIFIER, T, {}, lambda f: changed(f, max_position_embeddings="many"), "has str for max_position_embeddings",
    ),
    "weights that end early": (
        CLASSIFIER, T, {}, lambda f: cut(f, "model.safetensors"), "cannot be loaded .*copy it again, or save it with",
    ),
    "weights of noise": (
        CLASSIFIER, T, {}, lambda f: (f / "model.safetensors").write_bytes(os.urandom(5000)), "cannot be loaded",
    ),
    "a tokenizer that ends early": (CLASSIFIER, T, {}, lambda f: cut(f, "tokenizer.json"), "cannot be loaded"),
    "a decoder": (
        CLASSIFIER, T, {}, lambda f: changed(f, model_type="gpt2", architectures=["GPT2LMHeadModel"]),
        "holds a GPT2LMHeadModel of the model type 'gpt2', which is not supported; the supported ones are "
        "encoders of the types bert, roberta, .* and image classifiers",
    ),
    "a BERT that generates": (
        ENCODER, "embedding", {"pooling": "cls"}, lambda f: changed(f, is_decoder=True), "is a decoder ",
    ),
    "no pooling": (ENCODER, "embedding", {}, None, "does not say how it pools .*POOLING=mean, POOLING=cls or"),
    "a pooling that is not known": (
        EMBEDDER, "embedding", {"pooling": "last"}, None, "POOLING is 'last'; it may be mean, cls, max",
    ),
    "a packaged pooling that is not served": (
        EMBEDDER, "embedding", {}, lambda f: changed(f / "1_Pooling", pooling_mode="lasttoken"), "pools by lasttoken",
    ),
    "a module that is not served": (
        EMBEDDER, "embedding", {}, lambda f: (f / "modules.json").write_text(
            (f / "modules.json").read_text().replace("Normalize", "Dense")),
        "has the module Dense, which is not supported",
    ),
    "a list of modules that is none": (
        EMBEDDER, "embedding", {}, lambda f: (f / "modules.json").write_text('[{"type": 1}]'), "list of modules; copy",
    ),
    "a prompt before every text": (
        EMBEDDER, "embedding", {}, lambda f: changed(
            f, "config_sentence_transformers.json", default_prompt_name="query", prompts={"query": "query: "}),
        "adds a prompt to every text",
    ),
    "too long": (FILLER, "fill-mask", {"max_length": 65}, None, "MAX_LENGTH is 65 .* has 64 positions; give 3"),
    "a task that is not known": (ENCODER, "summarize", {}, None, "TASK is 'summarize'; for a text model it may be"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_folder_is_refused_in_one_sentence(sound, tmp_path, case):
    source, task, options, spoil, says = WRONG[case]
    folder = shutil.copytree(sound / source, tmp_path / "checkpoint")
    if spoil:
        spoil(folder)
    with pytest.raises(CheckpointError, match=says) as refused:
        if task == "summarize":
            read_text_folder(folder, {"task": task})
        written = tmp_path / "written"
        written.mkdir()
        write_checkpoint(local(folder, task, **options), Choice(), written, silent)
    sentence = str(refused.value)
    assert "\n" not in sentence and str(folder) in sentence + str(folder) * sentence.startswith(("POOLING", "TASK"))


def test_a_folder_that_may_not_be_read_is_refused_in_one_sentence(sound, tmp_path):
    closed = tmp_path / "closed"
    folder = shutil.copytree(sound / CLASSIFIER, closed / "checkpoint")
    closed.chmod(0)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)  # root may read everything
        with pytest.raises(
            CheckpointError, match=r"cannot be read \(Permission denied\); give a folder that you may read"
        ):
            read_text_folder(folder, {})
    finally:
        os.seteuid(user)
        closed.chmod(0o700)


def test_a_pickle_with_code_is_refused_and_not_run(sound, tmp_path):
    folder, mark = shutil.copytree(sound / CLASSIFIER, tmp_path / "checkpoint"), tmp_path / "code ran"
    torch.save({"classifier.weight": Evil(mark)}, folder / "pytorch_model.bin")
    (tmp_path / "beside").mkdir()
    write_checkpoint(local(folder, T), Choice(), tmp_path / "beside", silent)  # safetensors are preferred
    without(folder, "model.safetensors")
    (tmp_path / "alone").mkdir()
    with pytest.raises(CheckpointError, match=r"pytorch_model.bin is refused .*: only tensors are read from it"):
        write_checkpoint(local(folder, T), Choice(), tmp_path / "alone", silent)
    assert not mark.exists()


def test_tensors_in_torchs_own_format_are_read(sound, tmp_path):
    folder = shutil.copytree(sound / CLASSIFIER, tmp_path / "checkpoint")
    weights = load_file(folder / "model.safetensors")
    old = {
        name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): weights[name] for name in weights
    }
    torch.save(old, folder / "pytorch_model.bin")  # with the names of BERT's first checkpoints
    without(folder, "model.safetensors")
    (tmp_path / "written").mkdir()
    found = write_checkpoint(local(folder, T), Choice(), tmp_path / "written", silent)
    written = load_file(found.directory / "model.safetensors")
    assert written.keys() == weights.keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in weights.items())


def test_the_error_for_a_folder_with_one_output_asks_for_its_task(tmp_path):
    folder = checkpoints.write_checkpoint(tmp_path / "checkpoint", "bert", "classification", num_labels=1)
    with pytest.raises(CheckpointError, match=r"name it with TASK=rerank .* or TASK=text-classification"):
        read_text_folder(folder, {})
    assert read_text_folder(folder, {"task": "rerank"}).head["scores"] == "sigmoid"


def test_make_archive_ends_with_status_1_and_leaves_the_store_as_it_was(sound, tmp_path):
    folder, store = shutil.copytree(sound / CLASSIFIER, tmp_path / "checkpoint"), tmp_path / "store"
    store.mkdir()
    (store / "bert-torchscript.mar").write_bytes(b"of before")
    done = run(
        "export", MODEL_STORE=str(store), DEVICE="cpu", MODELS="bert", VARIANTS="torchscript", BERT_WEIGHTS=str(folder)
    )
    assert done.returncode == 1
    assert "bert-torchscript was not packed:" in done.stderr and "does not fit the task fill-mask" in done.stderr
    assert "Traceback" not in done.stderr and "bug of ours" not in done.stderr
    assert sorted(path.name for path in store.iterdir()) == [".lock", "bert-torchscript.mar"]
    assert (store / "bert-torchscript.mar").read_bytes() == b"of before"


def test_a_failed_build_leaves_nothing_behind(sound, tmp_path):
    from export.build import build

    folder = shutil.copytree(sound / CLASSIFIER, tmp_path / "checkpoint")
    headless(folder)
    store = tmp_path / "store"
    store.mkdir()
    with pytest.raises(CheckpointError, match="none is added"):
        build(Row(local(folder, T), variant("torchscript")[0]), "cpu", Choice(), store, silent)
    assert list(store.iterdir()) == []
