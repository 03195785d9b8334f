"""fp8 on the CPU, with e4m3 emulated: what calibration decides, and what it costs with real weights.

tests/handlers/test_fp8_gpu.py compares the GPU's kernels with this emulation.
"""

import pytest
import torch

from export import device
from export.build import _draft, _settings
from export.cases import SENTENCES
from export.catalog import INT8, MODELS, CatalogError, Row, rows, variant, variant_names
from export.fits import reason_against
from export.options import read_options
from export.parity import compare
from export.steps import StepError, apply
from export.steps import fp8_calibration as fp8
from export.weights import Choice, write_checkpoint
from handlers.lean import convert_text
from handlers.text import TextEncoder
from tests.lean_models import HEADS, text_model, texts


def inputs():
    return [texts(padded=False), texts(padded=True)]


def test_every_product_is_in_fp8_where_the_error_is_small():
    lean, _ = convert_text(text_model("bert", "pooled"), HEADS["pooled"])
    scales, kept, cosine = fp8.calibrate(lean, inputs(), 0.995)
    assert kept == [] and 0.995 <= cosine < 0.99999
    assert [sorted(each) for each in scales] == [["down", "out", "qkv", "up"]] * 2
    assert all(scale > 0 for each in scales for scale in each.values())


def test_the_scales_leave_room_above_the_largest_number_seen():
    lean, _ = convert_text(text_model("bert", "pooled"), HEADS["pooled"])
    batch = texts(padded=False)
    seen = []
    lean.layers[1].up.register_forward_pre_hook(lambda module, given: seen.append(float(given[0].abs().max())))
    scales, _, _ = fp8.calibrate(lean, [batch], 0.995)
    assert scales[1]["up"] * 448 == pytest.approx(fp8.HEADROOM * seen[0])


def test_a_product_that_e4m3_cannot_hold_stays_fp16():
    """One weight is so large that the scale leaves nothing of the others. Its input is always 0."""
    lean, _ = convert_text(text_model("bert", "pooled"), HEADS["pooled"])
    with torch.no_grad():
        lean.layers[0].attention_norm.weight[5] = lean.layers[0].attention_norm.bias[5] = 0
        lean.layers[0].up.weight[:, 5] = 1e7
    scales, kept, cosine = fp8.calibrate(lean, inputs(), 0.995)
    assert kept == [(0, "up")] and cosine >= 0.995
    assert scales[0]["up"] is None and all(scale for each in scales for name, scale in each.items() if name != "up")


def test_half_of_the_products_in_fp16_is_too_much():
    lean, _ = convert_text(text_model("bert", "pooled"), HEADS["pooled"])
    with pytest.raises(StepError, match=r"half of the products in fp16, .* 0\.99\d\d .* use graph"):
        fp8.calibrate(lean, inputs(), 0.999999)


@pytest.mark.parametrize("capability", [(8, 0), (8, 6), (7, 5)])
def test_a_gpu_without_fp8_is_refused_before_the_build_in_a_sentence(monkeypatch, capability):
    monkeypatch.setattr(device, "gpu_capability", lambda: capability)
    found = ".".join(map(str, capability))
    with pytest.raises(CatalogError, match=rf"of compute capability 8\.9 or more \(Ada, Hopper\), .* has {found}; use"):
        rows(["minilm"], ["fp8"], "gpu")
    assert [row.variant.name for row in rows(["minilm"], ["graph"], "gpu")] == ["graph"]


@pytest.mark.parametrize("capability", [(8, 9), (9, 0), (10, 0), (12, 0)])
def test_gpus_with_fp8_are_taken(monkeypatch, capability):
    monkeypatch.setattr(device, "gpu_capability", lambda: capability)
    assert [row.name for row in rows(["minilm"], ["fp8"], "gpu")] == ["minilm-fp8"]


def test_where_nobody_asked_for_it_fp8_is_left_out_of_what_it_does_not_fit(monkeypatch):
    monkeypatch.setattr("export.options.resolve_device", lambda wanted: "gpu")
    monkeypatch.setattr(device, "gpu_capability", lambda: (9, 0))
    found = read_options({"MODELS": "digits"}, variants=None)
    assert [row.variant.name for row in found.rows] == [name for name in variant_names("gpu") if name != "fp8"]
    with pytest.raises(CatalogError, match="'fp8' fits none of: digits"):
        read_options({"MODELS": "digits", "VARIANTS": "fp8"}, variants=None)


def test_a_family_without_a_lean_form_has_no_fp8(monkeypatch):
    monkeypatch.setattr("export.fits._described", lambda model: ({"model_type": "mpnet"}, HEADS["pooled"]))
    assert "'mpnet' is none of the text families" in reason_against(MODELS[0], variant("fp8")[0])


def test_real_weights_in_fp8_pass_the_bar_of_the_cosine(tmp_path, monkeypatch):
    """minilm with every product in fp8, emulated, on the cases of the parity check, which calibration has not seen. Its
    nearest neighbours ask for more (fp8.POOLED_GOAL)."""
    monkeypatch.setattr("export.calibration.SENTENCES", 24)
    monkeypatch.setattr(fp8, "POOLED_GOAL", 0.99)
    row = Row(MODELS[0], variant("fp8")[0])
    checkpoint = write_checkpoint(row.model, Choice(), tmp_path, lambda text: None)
    draft = apply(("lean", "fp8_products"), _draft(_settings(row, "cpu", checkpoint), checkpoint))
    assert "0 of 24 products stay fp16" in draft.notes[-1]
    text, lean = checkpoint.text_input, draft.module
    encoder = TextEncoder(checkpoint.directory / "tokenizer.json", text.max_length, text.pad_id)
    tokens = encoder.encode(list(SENTENCES))
    batch = {each.name: torch.from_numpy(getattr(tokens, each.name)) for each in draft.inputs}
    with torch.inference_mode():
        lean.fp8_rows = 10**9
        exact = lean(**batch)[0].numpy()
        lean.fp8_rows = 0
        found = lean(**batch)[0].numpy()
    ours, theirs = ([{"embedding": row[None]} for row in each] for each in (found, exact))
    parity = compare(ours, theirs, INT8, classes=False)
    assert parity.passed, parity
    assert parity.cosine < 0.9999  # it was fp8 that answered
