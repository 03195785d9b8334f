"""On a GPU with fp8 tensor cores: graphs in fp8 answer as the plain operators do, which round to e4m3 as well."""

import numpy as np
import pytest
import torch

from export.steps.fp8_calibration import calibrate
from handlers.lean import build, convert_text, fp8
from tests.handlers.test_lean_gpu import graph, text_batch, text_settings
from tests.lean_models import HEADS, text_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available() or torch.cuda.get_device_capability() < fp8.CAPABILITY,
        reason="no GPU with fp8 tensor cores here",
    ),
]
KEPT = [[], [(0, "qkv"), (1, "up")], [(0, "out"), (0, "down")], [(0, "up"), (1, "down"), (1, "qkv")]]
LENGTH = 32


def quantised(kind, kept):
    """A BERT's weights, its spec with fp8, and its calibrated scales, None for the products in ``kept``."""
    lean, spec = convert_text(text_model("bert", kind, width=128), HEADS[kind])
    generator = np.random.default_rng(1)
    batches = [
        {name: torch.from_numpy(array) for name, array in text_batch(generator, 4, LENGTH, False).items()}
        | ({"mask_position": torch.ones(4, dtype=torch.int64)} if kind == "mask" else {})
        for _ in range(4)
    ]
    scales, _, _ = calibrate(lean, batches, 0.9)  # random weights amplify errors
    for layer, product in kept:
        scales[layer][product] = None
    return lean.state_dict(), {**spec, "fp8": scales}


def network(state, spec):
    lean = build(spec)
    lean.load_state_dict(state)
    return lean


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("kept", KEPT, ids=str)
@pytest.mark.parametrize("kind", ["pooled", "mask", "tokens"])
def test_many_rows_are_computed_in_fp8_as_the_plain_operators_do(kind, kept, fused, monkeypatch):
    if fused and torch.cuda.get_device_capability()[0] != 9:
        pytest.skip("the fused kernel is for Hopper")
    monkeypatch.setattr("handlers.lean.fp8_kernels.fuses", lambda device: fused)
    state, spec = quantised(kind, kept)
    batch = text_batch(np.random.default_rng(2), 32, LENGTH, False)
    position = np.arange(32) % 9
    assert batch["input_ids"].size >= fp8.MANY_ROWS
    given = [*batch.values(), None, torch.from_numpy(position) if kind == "mask" else None]
    given = [torch.from_numpy(each) if isinstance(each, np.ndarray) else each for each in given]
    plain, exact = network(state, spec), network(state, {**spec, "fp8": []})
    with torch.inference_mode():
        wanted, unrounded = plain(*given)[0].numpy(), exact(*given)[0].numpy()
    buckets = {"batches": [1, 32], "lengths": [16, LENGTH]}
    runtime = graph(network(state, spec), text_settings(kind, exact, spec, buckets))
    found = next(iter(runtime(*batch.values(), *([position] if kind == "mask" else [])).values()))
    if kind == "tokens":
        kept_tokens = batch["attention_mask"] == 1
        found, wanted, unrounded = found[kept_tokens], wanted[kept_tokens], unrounded[kept_tokens]
    # The two round alike, except numbers in the middle between two of e4m3's, whose errors later layers amplify.
    assert np.linalg.norm(found - wanted) < 0.85 * np.linalg.norm(unrounded - wanted)
    one = {name: array[:1, :16] for name, array in batch.items()}
    few = next(iter(runtime(*one.values(), *([position[:1]] if kind == "mask" else [])).values()))
    given = [torch.from_numpy(each) for each in one.values()]
    with torch.inference_mode():
        alone = exact(*given, None, torch.from_numpy(position[:1]) if kind == "mask" else None)[0].numpy()
    assert np.abs(few - alone).max() < 2e-2 * np.abs(alone).max()  # fp16


def test_numbers_beyond_the_calibrated_range_are_the_largest_one():
    from handlers.lean import fp8_kernels

    x = torch.tensor([[1.0, -1e4, 6e4, 0.0, 0.126]], device="cuda", dtype=torch.float16)
    found = fp8_kernels.quantise(x, 0.5).float()
    assert found.tolist() == [[2.0, -448.0, 448.0, 0.0, 0.25]]
