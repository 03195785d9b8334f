"""The variants that models.toml chooses are read and checked, and decide which archives of a store are served."""

import pytest

from serving.chosen import Choices
from serving.errors import ServingError
from serving.machine import in_words, kind
from serving.plan import Plan
from serving.store import archives
from tests.conftest import run
from tests.serving.plain_archives import ours

ELSEWHERE = "[minilm]\nvariant = 'int8'\n[minilm.chosen]\nmachine = 'Abacus, 13 cores, no GPU'\n"


@pytest.fixture
def store(tmp_path):
    """A model in three variants, one in two, and one that has none."""
    folder = tmp_path / "store"
    folder.mkdir()
    for name in ("minilm-eager", "minilm-int8", "minilm-onnx", "digits-eager", "digits-torchscript"):
        model, _, variant = name.partition("-")
        ours(folder, name, model, variant)
    ours(folder, "null", "null", "null", task="null")
    return folder


@pytest.fixture
def choices(tmp_path, monkeypatch):
    monkeypatch.setenv("MODELS_FILE", str(tmp_path / "models.toml"))

    def load(text):
        (tmp_path / "models.toml").write_text(text)
        return Choices.load()

    return load


MISTAKES = [
    ("[minilm]\nvariant = 8", "[minilm] variant = 8: a variant's name or a list of names is expected"),
    ("[minilm]\nvariant = []", "[minilm] variant = []: a variant's name or a list"),
    ("[minilm]\nvariant = ['int8', 2]", "[minilm] variant = ['int8', 2]: a variant's name or a list"),
    ("[minilm]\nvarient = 'int8'", "[minilm] varient: there is no such key; did you mean variant?"),
    ("[minilm]\nvariants = ['int8']", "[minilm] variants: there is no such key; did you mean variant?"),
    ("[minilm]\nchosen = true", "[minilm] chosen = True: a table is expected"),
    ("[minilm.choosen]\nby = 'me'", "[minilm] choosen: there is no such key; did you mean chosen?"),
    (
        "[minilm.chosen]\nmashine = 'x'",
        "[minilm.chosen] has the key 'mashine', which nothing reads; known keys: by, date",
    ),
    ("[minilm.chosen]\ndate = 2026-11-29", "[minilm.chosen] date = 2026-11-29: a text in quotes is expected"),
    ("variant = 'int8'", "variant stands outside a model's table"),
]


@pytest.mark.parametrize(("text", "says"), MISTAKES, ids=[says[:50] for _, says in MISTAKES])
def test_a_mistake_is_one_sentence_that_names_the_file(choices, tmp_path, text, says):
    with pytest.raises(ServingError) as refused:
        choices(text)
    assert str(refused.value).startswith(str(tmp_path / "models.toml")) and says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "minilm"),
    [
        ("", "eager int8 onnx"),
        ("[minilm]\nworkers = 2\n", "eager int8 onnx"),
        ("[minilm]\nvariant = 'int8'\n", "int8"),
        ("[minilm]\nvariant = ['onnx', 'eager']\n", "eager onnx"),
        ("[minilm.chosen]\nby = 'a choice whose key variant was taken out'\n", "eager int8 onnx"),
    ],
)
def test_a_choice_leaves_out_the_models_other_variants_and_no_other_model(store, choices, text, minilm):
    expected = ["digits-eager", "digits-torchscript", *(f"minilm-{name}" for name in minilm.split()), "null"]
    assert list(archives(store, choices=choices(text))) == expected


def test_variants_on_the_command_line_go_over_the_choice(choices):
    assert choices("[minilm]\nvariant = 'int8'\n").variants("minilm") == ("int8",)
    assert Choices.of({"VARIANTS": "eager"}).models == {} and Choices.of({"VARIANTS": ""}).models != {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[minilm]\nvariant = 'openvino'\n", "[minilm] variant is openvino, and {store} holds minilm as eager, int8, "
         "onnx; run: make archive MODELS=minilm, or correct the key."),
        ("[minilm]\nvariant = ['int8', 'aoti']\n", "holds minilm as eager, int8, onnx without aoti; run: make archive"),
        ("[null]\nvariant = 'eager'\n", "[null] variant is eager, and null.mar has no variants; remove the key."),
    ],
)  # fmt: skip
def test_a_chosen_archive_that_the_store_lacks_is_named_with_the_command(store, choices, text, says):
    choices(text)
    refused = run("serving", "serve", MODELS="", VARIANTS="", MODEL_STORE=str(store), RUN_DIR=str(store / "run"))
    assert refused.returncode == 1 and says.format(store=store) in refused.stderr and refused.stderr.count("\n") == 1


def notices(store, found, models=()):
    return Plan.of(store, archives(store, models, choices=found), choices=found).notices


def test_make_serve_says_what_a_choice_leaves_out(store, choices):
    found = choices("[minilm]\nvariant = 'int8'\n")
    assert notices(store, found) == ["minilm: only int8 is served (models.toml); VARIANTS= serves others"]
    assert notices(store, found, ["digits"]) == []


def test_a_choice_that_was_made_on_another_kind_of_machine_is_said(store, choices):
    (line,) = [line for line in notices(store, choices(ELSEWHERE)) if "machine" in line]
    assert line == (
        f"minilm was chosen on another kind of machine (Abacus, 13 cores, no GPU; this is {kind()}): "
        "make choose MODEL=minilm chooses again"
    )
    assert not [line for line in notices(store, choices(ELSEWHERE), ["digits"]) if "machine" in line]
    here = choices(ELSEWHERE.replace("Abacus, 13 cores, no GPU", kind()))
    assert not [line for line in notices(store, here) if "machine" in line]


def test_a_choice_of_a_model_that_the_store_lacks_is_said(store, choices):
    (line,) = notices(store, choices("[minilmm]\nvariant = 'int8'\n"))
    assert "[minilmm] has serving settings, and store holds no archive of that model" in line


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        ({"cpu": "AMD EPYC", "cores": 2, "gpus": []}, "AMD EPYC, 2 cores, no GPU"),
        ({"cpu": "Xeon", "cores": 1, "gpus": ["H100", "H100"]}, "Xeon, 1 core, 2 x H100"),
        ({"cpu": "Xeon", "cores": 8, "gpus": ["T4", "H100"]}, "Xeon, 8 cores, H100, T4"),
    ],
)
def test_a_kind_of_machine_in_words(machine, words):
    assert in_words(machine) == words


def test_gpus_are_those_that_nvidia_smi_names(tmp_path, monkeypatch):
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 'NVIDIA H200, 143771 MiB, 570.1'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert kind().endswith("cores, NVIDIA H200") or kind().endswith("1 core, NVIDIA H200")
