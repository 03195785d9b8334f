"""One make archive computes the reference of a model once for all its variants."""

import numpy as np
import pytest

import export.__main__ as verb
from export import reference as references
from export.catalog import model
from export.reference import Reference, shared_reference
from export.tasks import Request

MINILM, NULL = model("minilm"), model("null")


@pytest.fixture
def computed(monkeypatch):
    """The models whose reference was computed, in order."""
    made = []

    def library(row, checkpoint, own_weights):
        made.append(row.name)
        return Reference([Request(b"x")], [{"logits": np.full((1, 3), len(made), np.float32)}], Request(b"x"))

    monkeypatch.setattr(references, "reference", library)
    return made


def logits(folder, identity, row=MINILM):
    return shared_reference(folder, identity, row, None, True).outputs[0]["logits"].tolist()


def test_the_variants_of_a_model_share_one_reference(tmp_path, computed):
    assert logits(tmp_path, "a") == logits(tmp_path, "a") == [[1, 1, 1]]
    assert computed == ["minilm"] and [path.suffix for path in tmp_path.iterdir()] == [""]


def test_other_weights_other_models_and_other_runs_have_their_own(tmp_path, computed):
    (tmp_path / "again").mkdir()
    found = [logits(tmp_path, "a"), logits(tmp_path, "b"), logits(tmp_path, "a", NULL), logits(tmp_path / "again", "a"),
             logits(None, "a"), logits(None, "a")]  # fmt: skip
    assert [each[0][0] for each in found] == [1, 2, 3, 4, 5, 6]


def test_the_builds_of_a_run_share_one_folder_which_is_removed_later(tmp_path, monkeypatch):
    given = []

    def pretend(row, device, choice, folder, version, shared, report):
        assert shared.is_dir()
        given.append(shared)
        return "not in this test"

    monkeypatch.setattr(verb, "STORE", tmp_path)
    monkeypatch.setattr(verb, "build_in_process", pretend)
    chosen = {"MODELS": "minilm", "VARIANTS": "eager torchscript", "DEVICE": "cpu", "MODELS_FILE": str(tmp_path / "x")}
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    assert [verb.main(), verb.main()] == [1, 1]
    assert len(given) == 4 and given[0] == given[1] and given[2] == given[3] and given[0] != given[2]
    assert not any(folder.exists() for folder in given)
