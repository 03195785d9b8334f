"""The lean networks compute what the published ones do, on the CPU here; on a GPU in tests/test_gpu.py."""

import pytest
import torch

from handlers.architectures import ImageClassifier, MaskFiller, SentenceEncoder
from handlers.lean import build, lean_bert, lean_resnet
from tests.tiny import write_bert


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    from transformers import BertForMaskedLM

    return BertForMaskedLM.from_pretrained(write_bert(tmp_path_factory.mktemp("bert"))).eval()


def batch():
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1000, 30000, (3, 11), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    return ids, mask, torch.tensor([1, 2, 9])


@pytest.mark.parametrize("task", ["embedding", "fill-mask"])
@pytest.mark.parametrize("padded", [True, False])
def test_lean_bert(bert, task, padded):
    wrapper = (SentenceEncoder(bert.bert) if task == "embedding" else MaskFiller(bert.bert, bert.cls)).eval()
    lean, spec = lean_bert(task, wrapper)
    again = build(task, spec)
    again.load_state_dict(lean.state_dict())
    ids, mask, position = batch()
    extra = (position,) if task == "fill-mask" else ()
    with torch.inference_mode():
        expected = wrapper(ids, mask if padded else torch.ones_like(mask), *extra)
        found = again(ids, mask if padded else None, *extra)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_lean_resnet(name):
    from torchvision.models import get_model

    torch.manual_seed(0)
    network = get_model(name, weights=None).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # a fresh norm is the identity, which proves nothing
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.1)
    wrapper = ImageClassifier(network, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)).eval()
    lean, spec = lean_resnet(wrapper)
    again = build("classification", spec)
    again.load_state_dict(lean.state_dict())
    pixels = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        expected, found = wrapper(pixels), again(pixels)
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
