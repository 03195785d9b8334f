"""Each Triton kernel computes what its plain twin does: on a GPU in fp16, elsewhere in Triton's interpreter in fp32.

The interpreter is chosen when triton is first imported, so without a GPU this file runs itself in a process of its own.
"""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from handlers.lean import operators
from handlers.scores import TILE, best, best_by_tiles

pytest.importorskip("triton", reason="torch's builds for the CPU alone come without Triton")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE, DTYPE = ("cuda", torch.float16) if torch.cuda.is_available() else ("cpu", torch.float32)
TOLERANCE = 1e-2 if DEVICE == "cuda" else 1e-4


needs_triton = pytest.mark.skipif(DEVICE == "cpu" and not INTERPRETED, reason="runs in the interpreter, see below")


@pytest.mark.skipif(DEVICE == "cuda" or INTERPRETED, reason="the kernels run as they are")
def test_all_of_them_in_the_interpreter():
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout, done.stdout


@pytest.fixture(scope="module")
def kernels():
    from handlers.lean import kernels

    return kernels


@pytest.fixture(scope="module")
def pointwise():
    from handlers.lean import pointwise

    return pointwise


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
    with torch.inference_mode():
        yield


def random(*shape):
    return torch.randn(*shape, device=DEVICE, dtype=DTYPE)


def linear(inputs, outputs):
    layer = nn.Linear(inputs, outputs, device=DEVICE, dtype=DTYPE)
    nn.init.normal_(layer.weight, std=inputs**-0.5)
    return layer


def norm(width):
    layer = nn.LayerNorm(width, 1e-12, device=DEVICE, dtype=DTYPE)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    return layer


def tanh_gelu(x):
    return nn.functional.gelu(x, approximate="tanh")


def mask_of(batch, length):
    """Ends padded, and one row padded at its start: a whole block of keys without any token."""
    mask = torch.ones(batch, length, dtype=torch.int64, device=DEVICE)
    mask[0, length // 2 :] = 0
    mask[-1, : length - 3] = 0
    return mask


def same(found, expected):
    assert found.shape == expected.shape
    assert torch.allclose(found.float(), expected.float(), rtol=TOLERANCE, atol=TOLERANCE)


@needs_triton
@pytest.mark.parametrize("masked", [True, False])
def test_embed(kernels, masked):
    ids = torch.randint(0, 50, (2, 9))
    mask = mask_of(2, 9).cpu() if masked else None
    if DEVICE == "cuda":
        ids, mask = ids.pin_memory(), mask.pin_memory() if masked else None
    arguments = (ids, mask, random(50, 48), random(16, 48), norm(48))
    (found, kept), (expected, all_kept) = kernels.embed(*arguments), operators.embed(*arguments)
    same(found, expected)
    assert (kept is None and all_kept is None) or torch.equal(kept.long(), all_kept.long())


@needs_triton
@pytest.mark.parametrize("length", [5, 64, 130])
@pytest.mark.parametrize("masked", [True, False])
def test_attention(kernels, length, masked):
    qkv, mask = random(3, length, 3 * 32), mask_of(3, length) if masked else None
    same(kernels.attention(qkv, mask, 2), operators.attention(qkv, mask, 2))


@needs_triton
@pytest.mark.parametrize("count", [3, 300])
def test_linear_add_norm(kernels, count):
    """3 rows go through a product in parts, 300 through cuBLAS."""
    x, residual, layer = random(count, 128), random(count, 64), linear(128, 64)
    after = norm(64)
    same(kernels.linear_add_norm(x, layer, residual, after), operators.linear_add_norm(x, layer, residual, after))


@needs_triton
@pytest.mark.parametrize("count", [3, 130])
def test_linear_with_and_without_gelu(kernels, count):
    """3 rows go through the kernel, 130 through cuBLAS."""
    x, layer = random(2, count, 64), linear(64, 96)
    same(kernels.linear(x, layer), operators.linear(x, layer))
    if DEVICE == "cuda" or count == 3:  # cuBLASLt's epilogue is a GPU's
        same(kernels.linear_gelu(x, layer), tanh_gelu(operators.linear(x, layer)))


@needs_triton
def test_normed(kernels):
    x, after = random(3, 48), norm(48)
    same(kernels.normed(x, after), operators.normed(x, after))


@needs_triton
def test_pick_linear_gelu(kernels):
    x, position, layer = random(3, 7, 64), torch.tensor([0, 6, 2]), linear(64, 64)
    position = position.pin_memory() if DEVICE == "cuda" else position
    picked = x[torch.arange(3), position.to(x.device)]
    same(kernels.pick_linear_gelu(x, position, layer), tanh_gelu(operators.linear(picked, layer)))
    assert torch.allclose(
        kernels.pick_linear_gelu(x, position, layer), operators.pick_linear_gelu(x, position, layer), atol=2e-3
    )


@needs_triton
@pytest.mark.parametrize("count, classes", [(1, 10), (20, 1000), (40, 100)])
def test_scores_write_into_the_host_tensor_given(kernels, count, classes):
    x, layer = random(count, 64), linear(64, classes)
    out = torch.zeros(count, classes)
    out = out.pin_memory() if DEVICE == "cuda" else out
    kernels.scores(x, layer, out)
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    same(out, operators.scores(x, layer, None).cpu())


@needs_triton
@pytest.mark.parametrize("count, classes", [(1, 64), (1, 1000), (20, 70)])
def test_scores_tell_of_each_tile_of_classes(kernels, count, classes):
    x, layer = random(count, 64), linear(64, classes)
    found, expected = (torch.zeros(-(-classes // TILE), 2, count) for _ in range(2))
    found = found.pin_memory() if DEVICE == "cuda" else found
    out = kernels.scores(x, layer, None, found).cpu()
    operators.scores(x, layer, None, expected)
    same(found, expected)
    for row in range(count):
        ranked = best_by_tiles(out[row].numpy(), *found[:, :, row].T.numpy(), 5)
        plain = best(out[row].numpy(), 5)
        assert [index for index, _ in ranked] == [index for index, _ in plain]
        assert [score for _, score in ranked] == pytest.approx([score for _, score in plain], rel=1e-5)


@needs_triton
@pytest.mark.parametrize("masked", [True, False])
def test_pool(kernels, masked):
    x, mask = random(3, 37, 48), mask_of(3, 37) if masked else None
    same(kernels.pool(x, mask, None), operators.pool(x, mask, None))


@needs_triton
@pytest.mark.parametrize("height, width", [(9, 12), (1, 2), (7, 7)])
def test_max_pool_and_mean(kernels, height, width):
    x = random(2, 72, height, width).to(memory_format=torch.channels_last)
    same(kernels.max_pool(x), operators.max_pool(x))
    assert kernels.max_pool(x).is_contiguous(memory_format=torch.channels_last)
    same(kernels.mean(x), operators.mean(x))


@needs_triton
def test_normalise(kernels):
    pixels = torch.randint(0, 256, (2, 5, 7, 3), dtype=torch.uint8)
    arguments = (pixels, random(3) / 64, random(3), 8, DTYPE)
    same(kernels.normalise(*arguments), operators.normalise(*arguments))


@needs_triton
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("adds, relu", [(False, True), (True, True), (False, False)])
def test_pointwise(pointwise, stride, adds, relu):
    x = random(2, 64, 7, 5).to(memory_format=torch.channels_last)
    layer = nn.Conv2d(64, 64, 1, stride, device=DEVICE, dtype=DTYPE)
    plain = layer(x)
    add = torch.randn_like(plain) if adds else None
    for tile in ((64, 32, 64, 4, 4), (64, 64, 64, 4, 4)):
        same(pointwise.pointwise(x, layer, add, relu, tile), operators.convolve(x, layer, add, relu))


@pytest.mark.skipif(DEVICE == "cpu", reason="measures on a CUDA device")
def test_the_fastest_way_is_chosen_once_per_shape(pointwise):
    x = random(1, 64, 56, 56).to(memory_format=torch.channels_last)
    layer = nn.Conv2d(64, 256, 1, device=DEVICE, dtype=DTYPE).to(memory_format=torch.channels_last)
    found = pointwise.convolve(x, layer, None, False)
    same(found, operators.convolve(x, layer, None, False))
    chosen = dict(pointwise._chosen)
    pointwise.convolve(x, layer, None, False)
    assert chosen and pointwise._chosen == chosen
