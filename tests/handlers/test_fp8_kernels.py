"""The kernels of fp8 compute the same as the plain operators. Without a GPU, test_kernels.py runs these tests in
Triton's interpreter."""

import pytest
import torch
from torch import nn

from handlers.lean import fp8
from tests.handlers.test_kernels import (
    DEVICE,
    DTYPE,
    linear,
    mask_of,
    needs_triton,
    norm,
    random,
    same,
    tanh_gelu,
)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
    with torch.inference_mode():
        yield


@pytest.fixture
def fp8_kernels(monkeypatch):
    """The kernels of fp8; cuBLASLt's products, which are a GPU's, are plain ones.

    The interpreter rounds to e4m3 wrongly: a number just below 128 became 64. There, nothing is rounded.
    """
    from handlers.lean import fp8_kernels

    if DEVICE == "cpu":
        monkeypatch.setattr(fp8, "E4M3", DTYPE)
    monkeypatch.setattr(fp8_kernels, "linear", fp8.linear)
    return fp8_kernels


def same_in_e4m3(found, expected):
    """Except that a number in the middle between two of e4m3's may be rounded to either, and that numbers near 0, which
    are differences of larger ones, have the error of the larger ones."""
    assert found.dtype == expected.dtype and found.shape == expected.shape
    if DEVICE == "cpu":
        return same(found, expected)
    assert found.dtype == torch.float8_e4m3fn
    found, expected = found.float(), expected.float()
    assert float((found != expected).float().mean()) < 0.06
    assert torch.allclose(found, expected, rtol=0.13, atol=0.25)  # of up to 448
    assert len(expected.unique()) > 20


@needs_triton
@pytest.mark.parametrize("scale", [0.01, 0.001])
def test_e4m3_and_what_is_beyond_its_range(fp8_kernels, scale):
    x = random(3, 1000)
    assert (float(x.abs().max()) > fp8.LARGEST * scale) == (scale == 0.001)
    same_in_e4m3(fp8_kernels.quantise(x, scale), fp8.quantise(x, scale))
    same_in_e4m3(fp8_kernels.quantise(x, scale, gelu=True), fp8.quantise(tanh_gelu(x.float()), scale))
    assert fp8_kernels.quantise(x, None) is x


@needs_triton
@pytest.mark.parametrize("masked", [True, False])
def test_attention_in_e4m3(fp8_kernels, masked):
    qkv, mask = random(3, 70, 3 * 32), mask_of(3, 70) if masked else None
    same_in_e4m3(fp8_kernels.attention(qkv, mask, 2, 0.004), fp8.attention(qkv, mask, 2, 0.004))


@needs_triton
@pytest.mark.parametrize("count, classes, depth", [(128, 256, 384), (384, 128, 128)])
def test_a_product_with_gelu_in_e4m3(fp8_kernels, count, classes, depth):
    from handlers.lean.fp8_products import multiply_gelu, tiles_divide

    if DEVICE == "cuda" and not fp8_kernels.fuses(torch.device(DEVICE)):
        pytest.skip("the kernel is for Hopper")
    x, layer = random(count, depth), linear(depth, classes)
    assert tiles_divide(count, layer) and not tiles_divide(count + 64, layer)
    narrow, weight = fp8.quantise(x, 0.02), fp8.quantise(layer.weight, 0.001)
    found = torch.empty(count, classes, device=DEVICE, dtype=fp8.E4M3)
    multiply_gelu(narrow, weight, layer.bias, 0.02 * 0.001, found, 1 / 0.01)
    exact = nn.functional.linear(narrow.float(), weight.float()) * (0.02 * 0.001) + layer.bias.float()
    same_in_e4m3(found, fp8.quantise(tanh_gelu(exact), 0.01))


@needs_triton
@pytest.mark.parametrize("later", [0.01, None])
def test_a_norm_beside_itself_in_e4m3(fp8_kernels, later):
    x, residual, layer, after = random(2, 70, 128), random(2, 70, 64), linear(128, 64), norm(64)
    arguments = (x, layer, None, residual, after, later)
    (found, narrow), (expected, wanted) = fp8_kernels.linear_add_norm(*arguments), fp8.linear_add_norm(*arguments)
    same(found, expected)
    if later is None:
        assert narrow is found
    else:
        same_in_e4m3(narrow, wanted)
