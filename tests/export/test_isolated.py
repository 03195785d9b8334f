"""What the process that builds are forked from has loaded."""

from importlib.util import find_spec
from multiprocessing import forkserver

import pytest

from export.catalog import rows
from export.isolated import OF_KIND, OF_TASK, preload


@pytest.mark.parametrize(
    ("models", "loaded", "left_out"),
    [
        (["null"], set(), {"torch", "torchvision", "transformers", "sentence_transformers", "sklearn"}),
        (["bert"], {"torch", "transformers"}, {"torchvision", "sentence_transformers", "sklearn"}),
        (["null", "minilm"], {"torch", "transformers", "sentence_transformers"}, {"torchvision", "sklearn"}),
        (["photos"], {"torch", "torchvision", "transformers", "sklearn"}, {"sentence_transformers"}),
        (["photos", "minilm"], {"torch", "torchvision", "transformers", "sentence_transformers", "sklearn"}, set()),
    ],
)
def test_builds_are_forked_from_what_their_kinds_of_models_use(models, loaded, left_out, monkeypatch):
    monkeypatch.setattr(forkserver._forkserver, "_preload_modules", [])
    preload(rows(models, ["eager"], "cpu"))
    found = {name.partition(".")[0] for name in forkserver._forkserver._preload_modules}
    assert found == loaded | {"export"} and not found & left_out


@pytest.mark.parametrize("name", sorted({name for names in (*OF_KIND.values(), *OF_TASK.values()) for name in names}))
def test_what_is_loaded_exists(name):
    assert find_spec(name.partition(".")[0])  # the fork server passes over what it cannot import
