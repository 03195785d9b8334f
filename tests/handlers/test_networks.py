"""Features equal those of the libraries, and a worker imports only the library of its network."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision.models
from torch import nn

from handlers.errors import ArchiveError
from handlers.networks import Logits, build_network, empty_network, features, last_linear
from tests.export.image_checkpoints import MADE

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext", "mobilenetv3_small_050"])
def test_timms_features(name):
    network = empty_network("timm", name, 5).eval()
    with torch.inference_mode():
        expected = network.forward_head(network.forward_features(IMAGES), pre_logits=True)
        assert torch.equal(features(network, "timm")(IMAGES), expected)
    assert expected.ndim == 2


def test_timms_features_equal_its_network_of_no_classes(tmp_path):
    made = MADE["timm file"](tmp_path)
    bare = empty_network("timm", "test_resnet", 0).eval()
    bare.load_state_dict({k: v for k, v in made.network.state_dict().items() if not k.startswith("fc.")})
    with torch.inference_mode():
        assert torch.equal(features(made.network, "timm")(IMAGES), bare(IMAGES))


def test_torchvisions_features():
    from torchvision.models.feature_extraction import create_feature_extractor

    network = empty_network("torchvision", "resnet18", 5).eval()
    extractor = create_feature_extractor(network, ["flatten"])
    with torch.inference_mode():
        expected = extractor(IMAGES)["flatten"]
        assert torch.equal(features(network, "torchvision")(IMAGES), expected)


@pytest.mark.parametrize("kind", ["ResNet", "ViT", "ConvNext"])
def test_transformers_features(kind, tmp_path):
    made = MADE[f"transformers {kind}"](tmp_path)
    with torch.inference_mode():
        output = made.network.base_model(IMAGES)
        # A ViT for classification has no pooler: its classifier takes the state of the first token.
        expected = output.last_hidden_state[:, 0] if kind == "ViT" else output.pooler_output.flatten(1)
        network = build_network("transformers", f"{kind}ForImageClassification", 5, tmp_path)
        torch.testing.assert_close(features(network, "transformers")(IMAGES), expected)


# RegNets cannot be built without memory for their weights. test_image_checkpoints.py tests one, regnet_y_400mf.
NAMES = [name for name in torchvision.models.list_models(module=torchvision.models) if not name.startswith("regnet")]


@pytest.mark.parametrize("name", NAMES)
def test_which_of_torchvisions_architectures_end_with_a_linear_layer(name):
    from export.images.by_name import shapes

    network = shapes("torchvision", name, 7)
    if name.startswith("squeezenet"):
        with pytest.raises(ArchiveError, match="does not end with a linear layer"):
            last_linear(network)
    else:
        assert last_linear(network)[1].out_features == 7


def test_logits_can_be_traced(tmp_path):
    made = MADE["transformers ResNet"](tmp_path)
    network = Logits(made.network)
    with torch.inference_mode():
        assert torch.equal(torch.jit.trace(network, IMAGES)(IMAGES[:1]), network(IMAGES[:1]))


def test_weights_that_do_not_fit_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file(nn.Linear(2, 2).state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(ArchiveError, match="does not fit the network"):
        build_network("torchvision", "resnet18", 5, tmp_path)


IMPORTS = """
import sys
from pathlib import Path
from handlers.networks import build_network
build_network({library!r}, {architecture!r}, 5, Path({folder!r}))
print(*(name for name in ("torchvision", "timm", "transformers") if name in sys.modules))
"""


def test_a_worker_imports_only_the_library_of_its_network(tmp_path):
    from safetensors.torch import save_file
    from torchvision.models import resnet18

    save_file(resnet18(num_classes=5).state_dict(), tmp_path / "model.safetensors")
    code = IMPORTS.format(library="torchvision", architecture="resnet18", folder=str(tmp_path))
    root = Path(__file__).resolve().parent.parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["torchvision"]
