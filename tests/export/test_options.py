"""The variables that make passes to a build: separators, synonyms, and weights that would not be used."""

import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest

from bench.plan import read_plan
from export.catalog import MODELS, CatalogError, variant_names
from export.device import DeviceError, resolve_device
from export.options import read_options, variable
from export.weights import CheckpointError
from serving.chosen import Choices
from tests.conftest import ROOT, run

CPU = {"DEVICE": "cpu"}


def make(tmp_path, *arguments, **environment):
    """Runs ``make archive`` with ``arguments`` on its command line and a separate store."""
    command = ["make", "-s", "archive", f"PYTHON={sys.executable}", f"MODEL_STORE={tmp_path}", "DEVICE=cpu", *arguments]
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    return subprocess.run(command, cwd=ROOT, env={**inherited, **environment}, capture_output=True, text=True)


@pytest.mark.parametrize("text", ["minilm digits", "minilm,digits", "minilm, digits", " digits ,minilm,"])
def test_names_are_separated_by_blanks_or_commas(text):
    found = read_options({**CPU, "MODELS": text, "VARIANTS": "eager,frozen"})
    assert {row.name for row in found.rows} == {f"{m}-{v}" for m in ("minilm", "digits") for v in ("eager", "frozen")}


def test_cuda_is_the_gpu():
    try:
        assert resolve_device("cuda") == "gpu"
    except DeviceError as error:
        assert "no CUDA device is visible" in str(error)
    with pytest.raises(DeviceError, match="auto, cpu or gpu"):
        resolve_device("tpu")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"MODELS": "bert", "RESNET50_WEIGHTS": "/x"}, "this build has bert; add resnet50"),
        ({"MODELS": "minilm", "MINILM_WEIGHTS": "/x"}, "MINILM_WEIGHTS would not be used"),
        ({"MODELS": "bert", "bert_weights": "/x"}, "write BERT_WEIGHTS"),
        ({"MODELS": "bert", "BERT_WEIGHTS": "/x", "WEIGHTS": "random"}, "leave one out"),
        ({"MODELS": "minilm null", "WEIGHTS": "random"}, "applies to bert, resnet50, and this build has minilm"),
        ({"MODELS": "minilm", "WEIGHTS": "rnadom"}, "may only be 'random'"),
        ({"WEIGHTS_GIVEN": "BRET_WEIGHTS", "BRET_WEIGHTS": "/x"}, "BRET_WEIGHTS names no model"),
    ],
)
def test_weights_that_would_not_be_used_are_refused(given, says):
    with pytest.raises(CheckpointError, match=says):
        read_options({**CPU, **given})


def test_random_weights_beside_a_model_that_keeps_its_own_are_noted():
    found = read_options({**CPU, "MODELS": "bert digits null", "WEIGHTS": "random"})
    assert found.notes == ["WEIGHTS=random applies to bert; the weights of digits stay real."]
    assert found.choices["bert"].random and not found.choices["digits"].random
    assert read_options({**CPU, "MODELS": "bert resnet50", "WEIGHTS": "random"}).notes == []


@pytest.fixture
def choices(tmp_path, monkeypatch):
    monkeypatch.setenv("MODELS_FILE", str(tmp_path / "models.toml"))

    def load(text):
        (tmp_path / "models.toml").write_text(text)
        return Choices.of(os.environ)

    return load


CHOSEN = "[minilm]\nvariant = 'int8'\n[photos]\nvariant = ['onnx', 'eager']\n[resnet50]\nvariant = 'onnx'\n"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", "minilm-int8 digits-eager digits-torchscript photos-onnx photos-eager null resnet50-onnx"),
        ("digits minilm", "digits-eager digits-torchscript minilm-int8"),
        ("null", "null"),
    ],
)
def test_a_choice_overrides_the_default_variants_of_its_model(choices, given, expected):
    found = read_options({**CPU, "MODELS": given}, choices=choices(CHOSEN))
    assert [row.name for row in found.rows] == expected.split() and found.notes == []


def test_variants_on_the_command_line_override_every_choice(choices, monkeypatch):
    monkeypatch.setenv("VARIANTS", "eager")
    found = read_options({**CPU, "MODELS": "minilm resnet50", "VARIANTS": "eager"}, choices=choices(CHOSEN))
    assert [row.name for row in found.rows] == ["minilm-eager", "resnet50-eager"]


def test_other_tools_keep_their_own_defaults(choices):
    choices(CHOSEN)
    fuzz, bench = (read({**CPU, "MODELS": "minilm"}) for read in (read_options, lambda given: read_plan(given).options))
    assert [row.name for row in fuzz.rows] == ["minilm-eager", "minilm-torchscript"]
    assert [row.variant.name for row in bench.rows] == variant_names("cpu")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[minilm]\nvariant = 'int9'", r"\[minilm\] variant: There is no variant 'int9'; known: .*: make choose"),
        ("[minilm]\nvariant = 'fp16'", r"\[minilm\] variant: The variant 'fp16' runs on a gpu, and DEVICE is cpu"),
        ("[minilm]\nvariant = ['int8', 'null']", r"\[minilm\] variant: The variant 'null' fits none of: minilm"),
        ("[null]\nvariant = 'eager'", r"\[null\] variant: null has no variants; remove the key"),
        ("[minilmm]\nvariant = 'eager'", r"\[minilmm\] variant: There is no model 'minilmm'; .* correct the name"),
    ],
)
def test_a_choice_that_cannot_be_built_is_named_with_its_file(choices, tmp_path, text, says):
    with pytest.raises(CatalogError, match=rf"^{re.escape(str(tmp_path))}/models\.toml: {says}"):
        read_options(CPU, choices=choices(text))


def test_a_choice_made_elsewhere_is_noted(choices):
    text = "[minilm]\nvariant = 'int8'\n[minilm.chosen]\nmachine = 'Abacus, 13 cores, no GPU'\n"
    (note,) = read_options({**CPU, "MODELS": "minilm"}, choices=choices(text)).notes
    assert note.startswith("minilm was chosen on another kind of machine (Abacus, 13 cores, no GPU; this is ")
    assert read_options({**CPU, "MODELS": "digits"}, choices=choices(text)).notes == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [("MODELS=minilm,null", ""), ("", "onnx"), ("VARIANTS=int8", "int8")],
)
def test_make_archive_installs_the_engines_of_a_choice(tmp_path, given, expected):
    """Reads make's variables, which are computed before anything is installed."""
    (tmp_path / "models.toml").write_text(CHOSEN)
    command = ["make", "-pn", "archive", f"MODELS_FILE={tmp_path / 'models.toml'}", *filter(None, [given])]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MODEL", "VARIANT"))}
    printed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True).stdout
    (line,) = [line for line in printed.splitlines() if line.startswith("EXTRAS := ")]
    assert line.split()[2:] == [f".venv/.{name}" for name in expected.split()]


def test_a_variable_set_to_nothing_is_unset():
    assert read_options({**CPU, **{variable(model): "" for model in MODELS}, "WEIGHTS": ""}).notes == []


def test_make_passes_what_its_command_line_sets_and_a_misspelt_name_is_refused(tmp_path):
    refused = make(tmp_path, "MODELS=null", "BRET_WEIGHTS=/x")
    assert refused.returncode == 2 and refused.stderr.startswith("BRET_WEIGHTS names no model"), refused.stderr
    refused = make(tmp_path, "MODELS=bert", "RESNET50_WEIGHTS=/x")
    assert refused.returncode == 2 and refused.stderr.startswith("RESNET50_WEIGHTS would not be used"), refused.stderr
    refused = make(tmp_path, "MODELS=bert", "VARIANTS=eager", f"BERT_WEIGHTS={tmp_path}/none")
    assert refused.returncode == 2 and f"no weights at {tmp_path}/none" in refused.stderr, refused.stderr
    assert not list(tmp_path.glob("*.mar"))


def test_a_variable_of_another_project_is_noted_and_serve_reads_the_same_names(tmp_path):
    built = make(tmp_path, "MODELS=null,", YOLO_WEIGHTS="/y")
    assert built.returncode == 0, built.stderr
    assert "YOLO_WEIGHTS is set in the environment and names no model here: it is not used." in built.stderr
    assert (tmp_path / "null.mar").exists()
    refused = run("serving", "serve", MODELS="bert,resnet50", VARIANTS="eager", MODEL_STORE=str(tmp_path))
    assert refused.returncode != 0 and "holds no archive of the model 'bert', but of: null" in refused.stderr


def test_an_unknown_name_among_commas_is_named():
    with pytest.raises(CatalogError, match="no model 'nope'"):
        read_options({**CPU, "MODELS": "minilm,nope"})


class Busy(BaseHTTPRequestHandler):
    """A hub that is too busy to give files, and records the requested paths."""

    asked: ClassVar[list[str]] = []

    def do_HEAD(self):
        self.asked.append(self.path)
        self.send_error(503)

    do_GET = do_HEAD

    def log_message(self, *words):
        pass


def silent_hub(tmp_path, address):
    """Runs ``make archive MODELS=bert`` with the hub at ``address`` and an empty cache."""
    settings = {"MODEL_STORE": str(tmp_path), "MODELS": "bert", "VARIANTS": "eager", "DEVICE": "cpu"}
    failed = run("export", **settings, HF_ENDPOINT=address, HF_HUB_CACHE=str(tmp_path / "empty"), HF_HUB_OFFLINE="")
    assert failed.returncode == 1 and "Retrying" not in failed.stderr and "Traceback" not in failed.stderr
    said = failed.stderr.splitlines()[-1]
    assert "BERT_WEIGHTS=/path" in said and "WEIGHTS=random" in said
    return said


def test_a_busy_hub_gets_one_request(tmp_path):
    with HTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        said = silent_hub(tmp_path, f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert "the hub answers 503" in said
    assert len([path for path in Busy.asked if "bert-base-uncased" in path]) == 1, Busy.asked


def test_the_error_without_a_hub_is_one_sentence_with_advice(tmp_path):
    assert "the hub does not answer" in silent_hub(tmp_path, "http://127.0.0.1:9")
