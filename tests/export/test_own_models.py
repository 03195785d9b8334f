"""The user's own models: from a checkpoint to a row of models.toml and a checked archive. Mistakes are refused."""

import json
import os
import shutil
import zipfile

import pytest
import torch
import yaml

from export.build import ParityError, expected_answer
from export.catalog import CatalogError
from export.errors import CheckpointError
from export.own_models import adopt, example_of, model_of_row, own_models, record, wanted_row
from export.tasks import TASKS
from tests.conftest import run
from tests.tiny import write_bert


def write_reviews(folder):
    """A text classifier with three labels and random weights, saved by transformers."""
    from transformers import BertForSequenceClassification

    write_bert(folder)
    names = {0: "bad", 1: "fair", 2: "good"}
    network = BertForSequenceClassification.from_pretrained(
        folder, num_labels=3, id2label=names, label2id={name: index for index, name in names.items()}
    )
    network.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    return write_reviews(tmp_path_factory.mktemp("checkpoints") / "reviews-bert")


def place(tmp_path, **more):
    """Variables for a separate store and models.toml."""
    own = {"MODELS_FILE": str(tmp_path / "models.toml"), "MODEL_STORE": str(tmp_path / "store")}
    return {**own, "DEVICE": "cpu", **more}


def settings_of(archive):
    with zipfile.ZipFile(archive) as source:
        return yaml.safe_load(source.read("model-config.yaml"))["archive"]


def test_a_checkpoint_becomes_a_row_that_its_name_selects(reviews, tmp_path):
    weights = shutil.copytree(reviews, tmp_path / "reviews-bert")
    (tmp_path / "models.toml").write_text("# by hand\n[minilm]\nworkers = 2  # kept\n")
    first = run("export", **place(tmp_path, MODEL=str(weights), VARIANTS="torchscript"))
    assert first.returncode == 0, first.stderr
    written = (tmp_path / "models.toml").read_text()
    assert written.startswith("# by hand\n[minilm]\nworkers = 2  # kept\n")
    assert f'[reviews-bert]\nsource = "{weights}"\ntask = "text-classification"' in written
    archive = tmp_path / "store" / "reviews-bert-torchscript.mar"
    assert settings_of(archive)["model"] == "reviews-bert"
    by_name = run("export", **place(tmp_path, MODELS="reviews-bert", VARIANTS="torchscript"))
    assert by_name.returncode == 0 and "up to date" in by_name.stdout
    (weights / "note.txt").write_text("the folder's bytes are its identity")
    (tmp_path / "models.toml").write_text(f'{written}variant = "torchscript"\n')
    again = run("export", **place(tmp_path, MODELS="reviews-bert", VARIANTS=""))
    assert again.returncode == 0 and "built" in again.stdout, again.stderr
    assert [path.stem for path in (tmp_path / "store").glob("*.mar")] == ["reviews-bert-torchscript"]
    listed = run("export.list_models", **place(tmp_path))
    (line,) = [line for line in listed.stdout.splitlines() if line.startswith("reviews-bert ")]
    assert "text-classification" in line and "bert 2 x 48" in line and "eager torchscript" in line
    assert "\nreviews-bert: built and served as torchscript (models.toml)\n" in listed.stdout


def test_an_image_file_is_built_with_its_architecture_and_labels(tmp_path):
    from torchvision.models import resnet18

    torch.manual_seed(0)
    torch.save(resnet18(num_classes=3).state_dict(), tmp_path / "flowers.pth")
    (tmp_path / "labels.txt").write_text("rose\ntulip\ndaisy\n")
    wanted = {"MODEL": str(tmp_path / "flowers.pth"), "ARCH": "resnet18", "LABELS": str(tmp_path / "labels.txt")}
    built = run("export", **place(tmp_path, **wanted, NAME="my-flowers", VARIANTS="eager"))
    assert built.returncode == 0, built.stderr
    (row,) = own_models(tmp_path / "models.toml")
    assert (row.name, row.task, row.options["architecture"]) == ("my-flowers", "image-classification", "resnet18")
    found = settings_of(tmp_path / "store" / "my-flowers-eager.mar")
    assert found["head"]["library"] == "torchvision" and found["image"]["height"] == 224


def test_an_answer_that_is_not_the_expected_one_is_not_packed_and_no_row_is_left(reviews, tmp_path):
    wanted = place(tmp_path, MODEL=str(reviews), VARIANTS="eager", EXAMPLE="It was fine.", EXPECT="marvellous")
    done = run("export", **wanted)
    assert done.returncode == 1 and "expected 'marvellous'" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "models.toml").exists() and not list((tmp_path / "store").glob("*.mar"))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"MODEL": "/nowhere/x"}, "There is no /nowhere/x"),
        ({"NAME": "x"}, "NAME= describes the model of MODEL=, which is missing"),
        ({"MODEL": "{reviews}", "NAME": "minilm"}, "the name of a built-in model"),
        ({"MODEL": "{reviews}", "NAME": "token-types"}, "and TorchServe could not serve it; choose another with NAME="),
        ({"MODEL": "{reviews}", "NAME": "two words"}, "NAME is 'two words'"),
        ({"MODEL": "{reviews}", "TASK": "fill-mask"}, "has the head of a BertForSequenceClassification"),
        ({"MODEL": "{reviews}", "TASK": "poetry"}, "TASK is 'poetry'"),
        ({"MODEL": "{reviews}", "ARCH": "resnet18"}, "is a text model"),
        ({"MODEL": "{reviews}", "MAX_LENGTH": "many"}, "MAX_LENGTH is 'many'"),
        ({"MODEL": "{reviews}", "MAX_LENGTH": "5000"}, "has 512 positions"),
        ({"MODEL": "{reviews}", "POOLING": "cls"}, "POOLING is cls and the task of"),
        ({"MODEL": "{reviews}", "VARIANTS": "graph"}, "DEVICE is cpu (given or detected); leave it out"),
        ({"MODEL": "{reviews}", "MODELS": "minilm"}, "leave one of them out"),
        ({"MODEL": "{reviews}", "VARIANTS": "warp"}, "There is no variant 'warp'"),
    ],
)
def test_a_wrong_choice_is_one_sentence_and_touches_nothing(reviews, tmp_path, given, says):
    given = {name: value.format(reviews=reviews) for name, value in given.items()}
    done = run("export", **place(tmp_path, **given))
    assert done.returncode in (1, 2)
    assert says in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "models.toml").exists() and not list((tmp_path / "store").glob("*.mar"))


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("[minilm]\nsource='/x'\ntask='embedding'", "the name of a built-in model"),
        ("[token-types]\nsource='/x'\ntask='embedding'", "begins with .token., and TorchServe could not serve"),
        ("[mine]\nsource='/x'\ntask='poetry'", "task is 'poetry'; expected one of"),
        ("[mine]\nsource='/x'\ntask='embedding'\npoling='cls'", "the unknown key 'poling'; known keys"),
        ("[mine]\nsource='/x'\ntask='embedding'\nvariant='eager'\nchose='x'", "the unknown key 'chose'; known keys"),
        ("[mine]\nsource=5\ntask='embedding'", "source is 5; expected a string"),
        ("[mine]\nsource='/x'\ntask='embedding'\nmax_length='9'", "max_length is '9'; expected a number"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, row, says):
    (tmp_path / "models.toml").write_text(row)
    with pytest.raises(CatalogError, match=says):
        own_models(tmp_path / "models.toml")


def test_recorded_values_of_a_checkpoint_are_kept(reviews, monkeypatch, tmp_path):
    monkeypatch.setenv("MODELS_FILE", str(tmp_path / "models.toml"))
    row = adopt({"MODEL": str(reviews), "EXAMPLE": "It was fine.", "EXPECT": "fair", "MAX_LENGTH": "64"})[1]
    record("reviews-bert", row)
    again = adopt({"MODEL": str(reviews), "EXPECT": "good"})[1]
    assert again == {**row, "expect": "good"}


def test_changed_labels_make_an_archive_out_of_date(tmp_path):
    from export.weights import Choice, identity

    (tmp_path / "w.pth").write_bytes(b"weights")
    labels = tmp_path / "labels.txt"
    labels.write_text("rose\ntulip\n")
    row = {"source": str(tmp_path / "w.pth"), "task": "image-classification", "labels": str(labels)}
    before = identity(model_of_row("flowers", row), Choice())
    labels.write_text("tulip\nrose\n")
    assert identity(model_of_row("flowers", row), Choice()) != before


@pytest.mark.parametrize("text", ["x" * 5000, "~nobody-of-that-name/x", "What's new?", "\0", '{"question": "Who?"}'])
def test_an_example_may_be_any_text(text):
    found = example_of(text)
    assert found["text"] == text
    assert found["content_type"] == ("application/json" if text.startswith("{") else "text/plain")


def test_expect_needs_a_task_whose_answers_can_be_compared(tmp_path):
    (tmp_path / "models.toml").write_text("[mine]\nsource='/x'\ntask='embedding'\nexpect='cat'")
    with pytest.raises(CatalogError, match="answers in numbers: leave it out"):
        own_models(tmp_path / "models.toml")
    with pytest.raises(ParityError, match="the answer to one item"):
        reply = {"status": 200, "body": {"predictions": [[{"token": "a"}]]}}
        expected_answer(TASKS["fill-mask"], "capital", "a text", reply)


@pytest.mark.parametrize("name", ["my model", "../up", "-x"])
def test_a_row_with_an_unusable_name_is_refused(tmp_path, name):
    (tmp_path / "models.toml").write_text(f"['{name}']\nsource='/x'\ntask='embedding'")
    with pytest.raises(CatalogError, match="is no usable name"):
        own_models(tmp_path / "models.toml")


def test_a_hub_id_may_move_to_another_commit(hub, monkeypatch, tmp_path):
    from huggingface_hub import constants

    from export.catalog import model

    source = model("bert").source
    monkeypatch.setenv("MODELS_FILE", str(tmp_path / "models.toml"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    record("mine", {"source": f"{source.name}@{'0' * 40}", "task": "fill-mask"})
    assert adopt({"MODEL": source.name, "NAME": "mine"})[1]["source"] == f"{source.name}@{source.revision}"


def test_a_wrong_hub_id_is_refused_in_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("MODELS_FILE", str(tmp_path / "models.toml"))
    with pytest.raises(CheckpointError, match="neither a file or folder here nor a hub id"):
        adopt({"MODEL": "org/name.git"})


def test_a_damaged_checkpoint_does_not_hide_the_other_models(tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("[1]")
    (tmp_path / "models.toml").write_text(f"[broken]\nsource='{tmp_path / 'broken'}'\ntask='embedding'")
    listed = run("export.list_models", **place(tmp_path))
    assert listed.returncode == 0 and "minilm" in listed.stdout and "broken" in listed.stdout, listed.stderr


def test_a_name_is_made_of_the_folder_the_file_or_the_hub_id(reviews):
    assert wanted_row({"MODEL": str(reviews)})[0] == "reviews-bert"
    assert wanted_row({"MODEL": str(reviews) + "/"})[0] == "reviews-bert"
    assert wanted_row({"MODEL": "org/intents@main"})[0] == "intents"
    assert wanted_row({}) is None


def test_a_hub_id_is_pinned_to_the_commit_that_was_read(hub, monkeypatch, tmp_path):
    from huggingface_hub import constants

    from export.catalog import model

    source = model("bert").source
    monkeypatch.setenv("MODELS_FILE", str(tmp_path / "models.toml"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    found, row = adopt({"MODEL": source.name, "NAME": "mine"})
    assert row["source"] == f"{source.name}@{source.revision}" and found.task == "fill-mask"


def test_a_name_that_is_taken_by_another_checkpoint_is_refused(reviews, monkeypatch, tmp_path):
    monkeypatch.setenv("MODELS_FILE", str(tmp_path / "models.toml"))
    record("mine", {"source": "/elsewhere", "task": "embedding"})
    with pytest.raises(CatalogError, match="mine is /elsewhere in"):
        adopt({"MODEL": str(reviews), "NAME": "mine"})


def test_variables_of_the_shell_do_not_make_a_model(tmp_path):
    """MODEL, NAME and TASK are common names, so they are read only from make's command line."""
    import subprocess

    from tests.conftest import ROOT

    shell = {**os.environ, "MODEL": "/somebody/elses", "NAME": "x", "TASK": "y"}
    printed = subprocess.run(
        ["make", "-s", "-n", "archive", "PYTHON=echo"], cwd=ROOT, env=shell, capture_output=True, text=True
    )
    assert printed.returncode == 0
    program = "import os; print({name: os.environ.get(name) for name in ('MODEL', 'NAME', 'TASK')})"
    (tmp_path / "python").write_text(f"#!/bin/sh\nexec python3 -c \"{program}\"\n")
    (tmp_path / "python").chmod(0o755)
    for more, expected in ([], {"MODEL": None, "NAME": None, "TASK": None}), (
        ["MODEL=/mine"], {"MODEL": "/mine", "NAME": None, "TASK": None}
    ):
        done = subprocess.run(
            ["make", "-s", "archive", f"PYTHON={tmp_path / 'python'}", *more], cwd=ROOT, env=shell,
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.stdout.strip() == str(expected), done.stderr


def test_a_model_of_a_known_task_is_one_line_of_the_catalog(tmp_path):
    """Adds resnet34 as a row, and builds it with random weights without any other change, as README.md says."""
    import subprocess
    import sys

    from tests.conftest import ROOT

    program = (
        "import sys\nfrom export import catalog\n"
        "row = catalog.Model('resnet34', 'image-classification', catalog.Source('torchvision', "
        "'ResNet34_Weights.IMAGENET1K_V1'), {'architecture': 'resnet34'}, input=catalog.PHOTO)\n"
        "catalog.MODELS = (*catalog.MODELS, row)\n"
        "from export.build import build\nfrom export.weights import Choice\nfrom pathlib import Path\n"
        "(one,) = catalog.rows(['resnet34'], ['torchscript'], 'cpu')\n"
        f"built = build(one, 'cpu', Choice(random=True), Path({str(tmp_path)!r}), lambda text: None)\n"
        "print(built.parity.passed)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip().endswith("True"), done.stderr
    assert json.loads(json.dumps(settings_of(tmp_path / "resnet34-torchscript.mar")))["model"] == "resnet34"


def test_a_folder_that_is_no_checkpoint_is_refused_before_anything_is_loaded(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        adopt({"MODEL": str(tmp_path / "empty")})
