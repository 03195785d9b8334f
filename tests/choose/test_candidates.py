"""Which archives may win, from their own records. The archives are small and made by hand; nothing is built."""

import hashlib
import json
import zipfile
from dataclasses import replace

import pytest
import yaml

from choose import candidates
from choose.errors import ChooseError
from choose.request import Request
from export import catalog
from export.options import Options
from export.own_models import model_of_row
from export.own_store import NotBuiltError

ASKED = Request(("minilm",))
COSINES = {"eager": 1.0, "torchscript": 1.0, "onnx": 0.999999, "int8": 0.9926}


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Archives of minilm in four variants; a build would find them up to date, and openvino refused."""
    for variant, cosine in COSINES.items():
        path = tmp_path / f"minilm-{variant}.mar"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("record.json", json.dumps({"parity": {"cosine": cosine, "accuracy": None}}))
            archive.writestr("MAR-INF/MANIFEST.json", json.dumps({"model": {"configFile": "model-config.yaml"}}))
            config = {"minWorkers": 1, "batchSize": 8, "archive": {"random_weights": variant == "onnx", "threads": 0}}
            archive.writestr("model-config.yaml", yaml.safe_dump(config))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        path.with_name(path.name + ".sha256").write_text(f"{digest}  {path.name}\n")

    def built(store, options):
        return {row.name: "" if row.variant.name in COSINES else "no\n  such engine" for row in options.rows}

    monkeypatch.setattr(candidates, "STORE", tmp_path)
    monkeypatch.setattr(candidates, "bring_up_to_date", built)


def found(asked=ASKED, name="minilm"):
    return candidates.find(asked, name, {"DEVICE": "cpu"}, cores=2)


def test_what_is_built_is_searched_and_what_is_not_has_its_reason(store):
    space = found()
    assert space.searched == ("eager", "torchscript", "onnx", "int8")
    reasons = {each["variant"]: each["reason"] for each in space.left_out}
    assert reasons["openvino"] == "no such engine" and reasons["fp16"] == "runs on a GPU"
    assert space.default.key == "minilm-torchscript.w1.t2.b8.q100" and space.candidates["onnx"].random_weights
    assert [name for name, each in space.candidates.items() if each.exact] == ["eager", "torchscript", "onnx"]


def test_a_bound_leaves_out_what_misses_it_and_says_by_how_much(store):
    space = found(replace(ASKED, min_cosine=0.999))
    assert "int8" not in space.searched
    assert {"variant": "int8", "reason": "its cosine is 0.992600; MIN_COSINE asks for 0.999000"} in space.left_out
    with pytest.raises(ChooseError, match=r"int8: its cosine is 0\.992600"):
        found(replace(ASKED, min_cosine=0.999, variants=("int8",)))


def test_only_the_variants_asked_for_are_searched_and_the_default_is_measured_all_the_same(store):
    space = found(replace(ASKED, variants=("int8",)))
    assert space.searched == ("int8",) and space.default.variant == "torchscript"
    assert {"variant": "torchscript", "reason": "not among VARIANTS"} in space.left_out


def test_a_variant_that_was_not_built_is_named_where_no_other_was_asked_for(store):
    with pytest.raises(ChooseError) as error:
        found(replace(ASKED, variants=("openvino",)))
    assert str(error.value) == (
        "No variant of minilm may win: torchscript: not among VARIANTS; minilm-openvino: no such engine; name others "
        "in VARIANTS, or none."
    )


def test_accuracy_is_refused_where_there_is_no_held_out_set(store):
    with pytest.raises(ChooseError, match="MIN_COSINE"):
        found(replace(ASKED, min_accuracy=0.98))


def test_without_the_default_there_is_nothing_to_compare_with(store, monkeypatch):
    monkeypatch.setattr(candidates, "bring_up_to_date", lambda store, options: {"minilm-torchscript": "disk full"})
    with pytest.raises((ChooseError, NotBuiltError), match="minilm-torchscript"):
        found(replace(ASKED, variants=("torchscript",)))


def test_what_is_built_is_announced_with_what_does_not_fit_by_name(store, capsys, tmp_path):
    found()
    assert capsys.readouterr().err.startswith("minilm (embedding): builds what is missing of eager, torchscript, ")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mpnet"}))
    mpnet = model_of_row("mine", {"source": str(tmp_path), "task": "embedding"})
    line = candidates.announced(mpnet, Options(catalog.rows([mpnet], ["eager"], "gpu"), "gpu", {}, []))
    assert line.startswith("mine (embedding): builds what is missing of eager; does not fit: graph (")
