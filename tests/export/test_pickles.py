"""No weights are unpickled. Real pickles with code are refused and not run, wherever a loader could find them."""

import hashlib
import json
import os
import pickle

import pytest
import torch
from safetensors.torch import load_file

from export.catalog import model
from export.errors import CheckpointError
from export.image_checkpoint import published_file
from export.images.state import read_state
from export.weights import Choice, write_checkpoint
from tests.tiny import write_bert

QUIET = {"report": lambda text: None}


class Evil:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (os.mkdir, (str(self.mark),))


@pytest.fixture
def mark(tmp_path):
    """The file that an unpickled Evil leaves. The test fails if the file exists."""
    path = tmp_path / "code ran"
    yield path
    assert not path.exists(), "a pickle was run"


def test_the_pickle_of_these_tests_runs_when_it_is_unpickled(tmp_path):
    torch.save({"x": Evil(tmp_path / "ran")}, tmp_path / "evil.pth")
    torch.load(tmp_path / "evil.pth", weights_only=False)
    assert (tmp_path / "ran").exists()


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """The path at which torchvision caches resnet50's weights."""
    from torchvision.models import get_weight

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    path = tmp_path / "torch" / "hub" / "checkpoints" / get_weight(model("resnet50").source.name).url.split("/")[-1]
    path.parent.mkdir(parents=True)
    return path


def test_a_pickle_in_torchvisions_cache(cached, mark, tmp_path):
    """torchvision checks the digest of a download, but not that of a file in its cache."""
    torch.save({"fc.weight": Evil(mark)}, cached)
    with pytest.raises(CheckpointError, match=r"not what torchvision publishes.*remove it"):
        write_checkpoint(model("resnet50"), Choice(), tmp_path, **QUIET)


def test_a_pickle_in_torchvisions_cache_under_a_digest_that_fits(cached, mark):
    """Eight hex digits of a digest can be forged. Only tensors may be read from the file."""
    torch.save({"fc.weight": Evil(mark)}, cached)
    digest = hashlib.sha256(cached.read_bytes()).hexdigest()[:8]
    forged = cached.rename(cached.with_name(f"resnet50-{digest}.pth"))
    with pytest.raises(CheckpointError, match="refused"):
        read_state(published_file(model("resnet50"), f"http://127.0.0.1:9/{forged.name}"))


def test_a_download_with_other_bytes_is_refused_and_not_kept(cached, mark, tmp_path):
    served = tmp_path / "served" / cached.name
    served.parent.mkdir()
    torch.save({"fc.weight": Evil(mark)}, served)
    with pytest.raises(CheckpointError, match="invalid hash value"):
        published_file(model("resnet50"), served.as_uri())
    assert not cached.exists()


def test_a_text_checkpoint_that_is_a_pickle_with_code(tmp_path, mark):
    source = pickled(write_bert(tmp_path / "bert"), mark)
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin is refused"):
        write_checkpoint(model("bert"), Choice(path=source), tmp_path, **QUIET)


def test_a_text_checkpoint_of_tensors_in_torchs_own_format_is_read(tmp_path):
    source = write_bert(tmp_path / "bert")
    wanted = load_file(source / "model.safetensors")
    made = write_checkpoint(model("bert"), Choice(path=pickled(source, None)), tmp_path, **QUIET)
    found = load_file(made.directory / "model.safetensors")
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in found)


@pytest.mark.parametrize("kind", ["pooled", "mask"])
@pytest.mark.parametrize("evil", [True, False], ids=["with code", "plain tensors"])
def test_an_archive_whose_weights_are_a_pickle(tmp_path, mark, kind, evil):
    from handlers.architectures import load_network

    with pytest.raises(OSError, match=r"safetensors"):
        load_network(pickled(write_bert(tmp_path / "bert"), mark if evil else None), kind)


def pickled(folder, mark):
    """The checkpoint with its weights as a pickle instead of safetensors, as in old checkpoints."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save({**state, **({"evil": Evil(mark)} if mark else {})}, folder / "pytorch_model.bin")
    return folder


def test_an_image_archive_whose_weights_are_a_pickle(tmp_path, mark):
    from handlers.networks import build_network

    (tmp_path / "model.safetensors").write_bytes(pickle.dumps(Evil(mark)))
    with pytest.raises(Exception, match=r"(?i)header|safetensor"):
        build_network("torchvision", "resnet18", 10, tmp_path)


def test_a_checkpoint_with_its_own_code_is_refused(tmp_path, mark, monkeypatch):
    """transformers may ask on the terminal whether to run such code."""
    asked = []
    source = write_bert(tmp_path / "bert")
    (source / "evil.py").write_text(f"import os\nos.mkdir({str(mark)!r})\n")
    config = json.loads((source / "config.json").read_text())
    config["auto_map"] = {"AutoTokenizer": ["evil.Tokenizer", None], "AutoModel": "evil.Model"}
    (source / "config.json").write_text(json.dumps(config))
    tokenizer = json.loads((source / "tokenizer_config.json").read_text())
    tokenizer |= {"auto_map": {"AutoTokenizer": ["evil.Tokenizer", None]}, "tokenizer_class": "EvilTokenizer"}
    (source / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    monkeypatch.setattr("builtins.input", lambda prompt="": asked.append(prompt) or "y")
    write_checkpoint(model("bert"), Choice(path=source), tmp_path, **QUIET)
    assert asked == []
