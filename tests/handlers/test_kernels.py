"""Each Triton kernel computes the same as the plain operator: on a GPU in fp16, elsewhere in Triton's interpreter in
fp32.

The interpreter is chosen when triton is first imported, so without a GPU this file runs itself in a separate process.
"""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from handlers.lean import operators
from handlers.scores import FEW

pytest.importorskip("triton", reason="torch's builds for the CPU alone come without Triton")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE, DTYPE = ("cuda", torch.float16) if torch.cuda.is_available() else ("cpu", torch.float32)
TOLERANCE = 1e-2 if DEVICE == "cuda" else 1e-4


needs_triton = pytest.mark.skipif(DEVICE == "cpu" and not INTERPRETED, reason="runs in the interpreter, see below")


@pytest.mark.skipif(DEVICE == "cuda" or INTERPRETED, reason="the kernels run as they are")
def test_all_kernels_in_the_interpreter():
    """Those of test_fp8_kernels.py run in the same process, whose imports take seconds."""
    files = [Path(__file__).with_name(name) for name in ("test_kernels.py", "test_fp8_kernels.py")]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-rp", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(re.search(rf"PASSED \S*/{each.name}::", done.stdout) for each in files), done.stdout


@pytest.fixture(scope="module")
def kernels():
    from handlers.lean import kernels

    return kernels


@pytest.fixture(scope="module")
def convolutions():
    from handlers.lean import convolutions

    return convolutions


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


tanh_gelu = functools.partial(nn.functional.gelu, approximate="tanh")


def mask_of(batch, length):
    """A mask of rows that are padded at the end, and one row whose first block of keys is padded."""
    mask = torch.ones(batch, length, dtype=torch.int64, device=DEVICE)
    mask[0, length // 2 :] = 0
    mask[-1, : length - 3] = 0
    return mask


def same(found, expected):
    assert found.shape == expected.shape
    assert torch.allclose(found.float(), expected.float(), rtol=TOLERANCE, atol=TOLERANCE)


@needs_triton
@pytest.mark.parametrize("masked, typed, picked", [(True, True, True), (False, False, True), (False, True, False)])
def test_embed(kernels, masked, typed, picked):
    from handlers.lean.encoder import LeanEmbeddings

    spec = {"embedding_width": 48, "vocabulary": 50, "positions": 16, "types": 3, "epsilon": 1e-2}
    tables = LeanEmbeddings(spec).to(DEVICE, DTYPE)
    ids, position = torch.randint(0, 50, (2, 9)), torch.tensor([8, 3]) if picked else None
    mask, types = mask_of(2, 9).cpu() if masked else None, torch.randint(0, 3, (2, 9)) if typed else None
    inputs = (ids, mask, types, position)
    if DEVICE == "cuda":
        inputs = tuple(None if each is None else each.pin_memory() for each in inputs)
    (found, *kept), (expected, *all_kept) = kernels.embed(*inputs, tables), operators.embed(*inputs, tables)
    same(found, expected)
    for each, other in zip(kept, all_kept, strict=True):
        assert (each is None and other is None) or torch.equal(each.long(), other.long())


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
    x, residual, layer, after = random(count, 128), random(count, 64), linear(128, 64), norm(64)
    same(kernels.linear_add_norm(x, layer, residual, after), after(layer(x) + residual))


@needs_triton
@pytest.mark.parametrize("count", [3, 130])
def test_linear(kernels, count):
    """3 rows go through the kernel, 130 through cuBLAS."""
    x, layer = random(2, count, 64), linear(64, 96)
    same(kernels.linear(x, layer), operators.linear(x, layer))


@needs_triton
@pytest.mark.parametrize("length, width", [(1, 64), (9, 128), (40, 64), (70, 64)])
def test_feed_forward(kernels, length, width, monkeypatch):
    """Up to 128 rows, the next product applies the norm. 140 rows go through cuBLAS."""
    if DEVICE == "cpu" and length == 70:
        pytest.skip("cuBLASLt's epilogue needs a GPU")
    from handlers.lean.encoder import LeanLayer

    spec = {"width": width, "heads": 2, "inner": 2 * width, "epsilon": 1e-2, "activation": "gelu"}
    layer = LeanLayer(spec).to(DEVICE, DTYPE)
    for each in (layer.attention_norm, layer.norm):
        nn.init.normal_(each.weight)
        nn.init.normal_(each.bias)
    mixed, x = random(2, length, width), random(2, length, width) + 3  # a mean that has to be taken away
    found = kernels.feed_forward(mixed, x, layer)
    exact = operators.feed_forward(mixed, x, layer)
    monkeypatch.setattr(operators.F, "gelu", tanh_gelu)
    same(found, operators.feed_forward(mixed, x, layer))
    assert torch.allclose(found, exact, atol=TOLERANCE + 1e-3)


@needs_triton
@pytest.mark.parametrize("batch, width", [(1, 64), (3, 128), (40, 64)])
def test_a_norm_is_left_to_the_scores(kernels, batch, width):
    """The width may differ from the encoder's, as in ELECTRA."""
    from handlers.lean.heads import MaskHead

    x, position = random(batch, 7, 64), torch.arange(batch, device=DEVICE) % 7
    spec = {"width": 64, "embedding_width": width, "vocabulary": 100, "epsilon": 1e-2, "mask_activation": "gelu"}
    head = MaskHead(spec).to(DEVICE, DTYPE)
    nn.init.normal_(head.norm.weight)
    picked = x[torch.arange(batch), position]
    unnormed = kernels.pick_transform_norm(x, position, head)
    expected = head.decoder(head.norm(tanh_gelu(head.transform(picked))))
    same(kernels.scores(unnormed, head.decoder, None), expected.float())
    plain = operators.pick_transform_norm(x, position, head)
    assert torch.allclose(plain, head.norm(nn.functional.gelu(head.transform(picked))), atol=TOLERANCE)


@needs_triton
@pytest.mark.parametrize("count, classes", [(1, 10), (20, 1000), (40, 100), (70, 1)])
def test_scores_write_into_the_host_tensor_given(kernels, count, classes):
    x, layer = random(count, 64), linear(64, classes)
    out = torch.zeros(count, classes)
    out = out.pin_memory() if DEVICE == "cuda" else out
    kernels.scores(x, layer, out)
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    same(out, operators.scores(x, layer, None).cpu())


@needs_triton
@pytest.mark.parametrize("count, classes", [(1, 2), (1, 64), (3, 1000), (20, 70), (2, 600)])
def test_scores_rank_the_likeliest_classes(kernels, count, classes):
    x, layer = random(count, 64), linear(64, classes)
    found, expected = (best_of(count, min(FEW, classes)) for _ in range(2))
    kernels.scores(x, layer, None, found)
    operators.scores(x, layer, None, expected)
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    assert (found[1] >= 0.9 * expected[1]).all()
    same(found[1], expected[1])
    if DEVICE == "cpu":  # in fp16, two classes may be equal
        assert found[0].tolist() == expected[0].tolist()


@needs_triton
def test_the_likeliest_classes_may_share_a_tile_or_lie_in_the_last_one(kernels):
    layer, x = linear(64, 600), torch.zeros(1, 64, device=DEVICE, dtype=DTYPE)
    places = [70, 71, 599, 3, 598, 72, 73, 74]
    layer.bias.zero_()
    layer.bias[places] = torch.arange(8.0, 0.0, -1.0, device=DEVICE, dtype=DTYPE)
    found = best_of(1, FEW)
    kernels.scores(x, layer, None, found)
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    assert found[0].tolist() == [places]


def best_of(count, wanted):
    found = torch.zeros(count, wanted, dtype=torch.int32), torch.zeros(count, wanted)
    return tuple(each.pin_memory() for each in found) if DEVICE == "cuda" else found


@needs_triton
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_pool(kernels, masked, normalize, pooling):
    x, mask = random(3, 37, 48), mask_of(3, 37) if masked else None
    arguments = (x, mask, None, pooling, normalize)
    same(kernels.pool(*arguments), operators.pool(*arguments))


@needs_triton
@pytest.mark.parametrize("height, width", [(9, 12), (1, 2), (7, 7)])
def test_max_pool_and_mean(kernels, height, width):
    x = random(2, 72, height, width).to(memory_format=torch.channels_last)
    same(kernels.max_pool(x), operators.max_pool(x))
    assert kernels.max_pool(x).is_contiguous(memory_format=torch.channels_last)
    same(kernels.mean(x), operators.mean(x))
    out = torch.zeros(2, 72, device=DEVICE)
    same(kernels.mean(x, out), operators.mean(x))
    assert torch.allclose(out, x.float().mean((2, 3)), atol=1e-5)  # not rounded to fp16


@needs_triton
def test_normalise(kernels):
    pixels = torch.randint(0, 256, (2, 5, 7, 3), dtype=torch.uint8)
    arguments = (pixels, random(3) / 64, random(3), 8, DTYPE)
    same(kernels.normalise(*arguments), operators.normalise(*arguments))


@needs_triton
@pytest.mark.parametrize("size, stride", [(1, 1), (1, 2), (3, 1), (3, 2)])
@pytest.mark.parametrize("adds, relu", [(False, True), (True, True), (False, False)])
def test_products_are_convolutions(convolutions, size, stride, adds, relu):
    x = random(2, 64, 7, 6).to(memory_format=torch.channels_last)
    layer = nn.Conv2d(64, 64, size, stride, size // 2, device=DEVICE, dtype=DTYPE)
    layer = layer.to(memory_format=torch.channels_last)
    add = torch.randn_like(layer(x)) if adds else None
    found = convolutions.tiles(x, layer)
    assert {tile[-1] for tile in found} == ({1} if size == 1 else {9})  # 64 channels are one step, nine taps nine
    for tile in ((64, 64, 64, 4, 4, 1), *found):
        same(convolutions.product(x, layer, add, relu, tile), operators.convolve(x, layer, add, relu))


@needs_triton
def test_convolutions_without_a_fitting_tile_are_left_to_cudnn(convolutions):
    x = random(1, 64, 7, 7)
    for layer in (nn.Conv2d(64, 64, 3, 1, 0), nn.Conv2d(64, 64, 7, 1, 3), nn.Conv2d(64, 72, 3, 1, 1)):
        assert not convolutions.tiles(x, layer)
    for settings in ({"groups": 2}, {"dilation": 2, "padding": 2}, {"dilation": 2}):
        assert not convolutions.tiles(x, nn.Conv2d(64, 64, 3, **{"padding": 1, **settings}))
        assert not convolutions.tiles(x, nn.Conv2d(64, 64, 1, groups=2))
    assert not convolutions.tiles(torch.empty(8, 512, 7, 7), nn.Conv2d(512, 512, 3, 1, 1))  # too much to do
    assert convolutions.tiles(torch.empty(2, 512, 7, 7), nn.Conv2d(512, 512, 3, 1, 1))


@pytest.mark.skipif(DEVICE == "cpu", reason="measures on a CUDA device")
@pytest.mark.parametrize("channels, side, size", [(64, 56, 1), (512, 7, 3), (64, 7, 7)])
def test_the_fastest_way_is_chosen_once_per_shape(convolutions, channels, side, size):
    x = random(1, channels, side, side).to(memory_format=torch.channels_last)
    layer = nn.Conv2d(channels, 256, size, padding=size // 2, device=DEVICE, dtype=DTYPE)
    layer = layer.to(memory_format=torch.channels_last)
    same(convolutions.convolve(x, layer, None, False), operators.convolve(x, layer, None, False))
    chosen = dict(convolutions.chosen)
    convolutions.convolve(x, layer, None, False)
    assert chosen and convolutions.chosen == chosen


@needs_triton
def test_convolutions_that_differ_in_groups_or_dilation_are_remembered_apart(convolutions, monkeypatch):
    asked = []

    def ask(x, c, add, relu):
        asked.append((c.groups, c.dilation))
        return convolutions.SEPARATE

    monkeypatch.setattr(convolutions, "chosen", {})
    monkeypatch.setattr(convolutions, "_fastest", ask)
    x = random(1, 64, 9, 9).to(memory_format=torch.channels_last)
    for settings in ({}, {"groups": 32}, {"dilation": 2, "padding": 2}, {}, {"groups": 32}):
        layer = nn.Conv2d(64, 64, 3, device=DEVICE, dtype=DTYPE, **{"padding": 1, **settings})
        same(convolutions.convolve(x, layer), operators.convolve(x, layer))
    assert asked == [(1, (1, 1)), (32, (1, 1)), (1, (2, 2))]


@pytest.mark.skipif(DEVICE == "cpu", reason="measures on a CUDA device")
@pytest.mark.parametrize("add", [True, False])
def test_grouped_convolutions_take_a_way_that_runs(convolutions, add):
    x = random(1, 128, 56, 56).to(memory_format=torch.channels_last)
    layer = nn.Conv2d(128, 128, 3, padding=1, groups=32, device=DEVICE, dtype=DTYPE).to(
        memory_format=torch.channels_last
    )
    beside = torch.randn_like(x) if add else None
    same(convolutions.convolve(x, layer, beside), operators.convolve(x, layer, beside))
