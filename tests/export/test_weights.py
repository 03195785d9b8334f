"""Weights are read from the hub's layout, local folders and files. If weights cannot be loaded, one sentence says what
to do."""

import json
import pickle
import zipfile

import pytest
import torch
import yaml

from export import weights
from export.catalog import model
from export.checkpoint import Checkpoint
from export.weights import CheckpointError, Choice, identity, write_checkpoint
from tests.conftest import hub_environment, run
from tests.tiny import write_bert

QUIET = {"report": lambda text: None}


def test_hub_layout_is_loaded_by_id_and_pinned_revision(every_row):
    """The store ``every_row`` has bert archives that were built from the hub's layout."""
    assert (every_row / "bert-eager.mar").exists() and (every_row / "bert-torchscript.mar").exists()


def test_the_error_for_an_unreachable_hub_is_one_sentence_with_two_solutions(tmp_path):
    settings = {"MODEL_STORE": str(tmp_path), "MODELS": "bert", "VARIANTS": "eager", "DEVICE": "cpu"}
    failed = run("export", **settings, **hub_environment(tmp_path / "empty"))
    assert failed.returncode == 1
    said = failed.stderr.splitlines()[-1]
    assert "BERT_WEIGHTS=/path" in said and "WEIGHTS=random" in said and "Traceback" not in failed.stderr
    assert not list(tmp_path.glob("*.mar"))


def test_random_weights_are_marked(every_row):
    with zipfile.ZipFile(every_row / "resnet50-eager.mar") as archive:
        settings = yaml.safe_load(archive.read("model-config.yaml"))["archive"]
    assert settings["random_weights"] is True and settings["weights"] == "random weights"
    listed = run(
        "export", MODELS="resnet50", VARIANTS="eager", WEIGHTS="random", DEVICE="cpu", MODEL_STORE=str(every_row)
    )
    assert "resnet50-eager (random weights)" in listed.stdout and "up to date" in listed.stdout


def test_a_checkpoint_without_a_head_is_refused(tmp_path):
    source = write_bert(tmp_path / "headless", head=False)
    config = json.loads((source / "config.json").read_text()) | {"architectures": ["BertForMaskedLM"]}
    (source / "config.json").write_text(json.dumps(config))  # the config says that there is a head
    with pytest.raises(CheckpointError, match=r"lacks .*none is added"):
        write_checkpoint(model("bert"), Choice(path=source), tmp_path, **QUIET)


def test_a_folder_that_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        write_checkpoint(model("bert"), Choice(path=tmp_path), tmp_path, **QUIET)


def config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def without(folder, pattern):
    for path in folder.glob(pattern):
        path.unlink()


def a_model_of_few_words(folder):
    from transformers import BertConfig, BertForMaskedLM

    sizes = {"hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 96}
    BertForMaskedLM(BertConfig(vocab_size=1000, **sizes)).save_pretrained(folder)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "config.json").write_text("{not"), "not readable JSON"),
        (lambda folder: (folder / "config.json").write_text("[]"), "is not a JSON object"),
        (lambda folder: config(folder, hidden_size="wide"), "str for hidden_size; expected int"),
        (lambda folder: config(folder, intermediate_size=100), "in its weights and of .* by its config.json"),
        (lambda folder: config(folder, model_type="distilbert"), "lacks distilbert"),
        (lambda folder: config(folder, model_type="gpt2"), "model type 'gpt2', which is not supported; "),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 100), "SafetensorError"),
        (lambda folder: without(folder, "model.safetensors"), "has no weights; expected model.safetensors"),
        (lambda folder: (folder / "tokenizer.json").write_text("{not"), "cannot be loaded .*line 1 column 2"),
        (lambda folder: without(folder, "token*"), "has no tokenizer"),
        (a_model_of_few_words, "a tokenizer of 30522 tokens and a model of 1000"),
    ],
)
def test_a_damaged_checkpoint_is_one_sentence_that_names_the_folder(tmp_path, damage, says):
    source = write_bert(tmp_path / "source")
    damage(source)
    with pytest.raises(CheckpointError, match=says) as refused:
        write_checkpoint(model("bert"), Choice(path=source), tmp_path, **QUIET)
    assert str(source) in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_local_file_of_resnet50(tmp_path, suffix):
    from safetensors.torch import load_file, save_file
    from torchvision.models import resnet50

    torch.manual_seed(3)
    state = resnet50().state_dict()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    made = write_checkpoint(model("resnet50"), Choice(path=path), tmp_path, **QUIET)
    assert isinstance(made, Checkpoint) and not made.random
    assert torch.equal(load_file(tmp_path / "model.safetensors")["fc.weight"], state["fc.weight"])
    assert made.image.preparation["resize"] == 232 and made.image.preparation["crop"] == 224
    assert json.loads((tmp_path / "labels.json").read_text())[985] == "daisy"


class Evil:
    """Runs code when unpickled."""

    def __reduce__(self):
        return (print, ("code ran",))


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, capsys):
    path = tmp_path / "weights.pth"
    torch.save({"fc.weight": Evil()}, path)
    with pytest.raises(CheckpointError, match="refused"):
        write_checkpoint(model("resnet50"), Choice(path=path), tmp_path, **QUIET)
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CheckpointError):
        write_checkpoint(model("resnet50"), Choice(path=path), tmp_path, **QUIET)
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [{"fc.weight": torch.zeros(3)}, {"fc.weight": 3}, [1, 2]])
def test_another_state_dict_than_the_models_is_refused(tmp_path, content):
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"does not hold the weights of resnet50|holds no state dict"):
        write_checkpoint(model("resnet50"), Choice(path=path), tmp_path, **QUIET)


def test_the_choice_of_weights_from_the_environment():
    bert = model("bert")
    assert Choice.of(bert, {}) == Choice()
    assert Choice.of(bert, {"WEIGHTS": "random"}).random
    assert str(Choice.of(bert, {"BERT_WEIGHTS": "/x/y"}).path) == "/x/y"
    assert Choice.of(model("minilm"), {"WEIGHTS": "random"}) == Choice()
    with pytest.raises(CheckpointError, match="may only be 'random'"):
        Choice.of(bert, {"WEIGHTS": "rnadom"})
    with pytest.raises(CheckpointError, match="no weights at /nowhere"):
        identity(bert, Choice.of(bert, {"BERT_WEIGHTS": "/nowhere"}))


@pytest.mark.parametrize(
    "other", [{"1_Pooling/config.json": b"a", "config.json": b"b"}, {"config.json": b"ab"}, {"0/config.json": b"ab"}]
)
def test_each_layout_of_a_folder_has_its_own_identity(tmp_path, other):
    def written(name, files):
        for path, content in files.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_bytes(content)
        return identity(model("bert"), Choice(path=tmp_path / name))

    first = written("first", {"0_Transformer/config.json": b"a", "config.json": b"b"})
    assert written("same", {"0_Transformer/config.json": b"a", "config.json": b"b"}) == first
    assert written("other", other) != first


def test_another_version_of_a_font_changes_the_identity_of_the_digits_weights(monkeypatch):
    before = identity(model("digits"), Choice())
    assert identity(model("digits"), Choice()) == before
    found = weights.version
    monkeypatch.setattr(weights, "version", lambda package: "9.9" if package == "font_lato" else found(package))
    assert identity(model("digits"), Choice()) != before
