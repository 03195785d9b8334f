"""The lean networks compute the same as the libraries' own models, on the CPU. test_lean_gpu.py tests them on a GPU."""

import pytest
import torch
import yaml
from torch import nn

from handlers.lean import LeanError, build, convert_image, convert_text, unsupported
from tests.lean_models import FAMILIES, HEADS, text_model, text_outputs, texts, with_real_norms

POSITION = torch.tensor([1, 2, 9])
CLOSE = {"rtol": 1e-5, "atol": 2e-5}  # GELU's two forms are further apart


def rebuilt(lean, spec):
    """The network made from the files of an archive: a spec of YAML values and a state dict."""
    again = build(yaml.safe_load(yaml.safe_dump(spec)))
    again.load_state_dict(lean.state_dict())
    return again


def same_where_unpadded(found, expected, mask):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        if one.shape[:2] == mask.shape:
            one, other = one[mask == 1], other[mask == 1]
        assert torch.allclose(one, other, **CLOSE)
        assert float(other.std()) > 1e-2  # a constant would match anything


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_with_a_head_equals_the_librarys_model(family, kind):
    model = text_model(family, kind)
    lean = rebuilt(*convert_text(model, HEADS[kind]))
    types = getattr(model.config, "type_vocab_size", 1)
    for padded in (True, False):
        for count in {1, types}:
            inputs = texts(padded, count)
            mask = inputs["attention_mask"]
            position = POSITION if kind == "mask" else None
            with torch.inference_mode():
                found = lean(**{**inputs, "attention_mask": mask if padded else None}, mask_position=position)
            same_where_unpadded(found, text_outputs(model, kind, inputs, POSITION), mask)


@pytest.mark.parametrize("name", ["epsilon", "activation", "types"])
def test_a_setting_of_the_checkpoint_changes_the_answer(name):
    """The change has to be above the tolerance of the test above, which would otherwise not notice the setting."""
    model, inputs = text_model("bert", "classification"), texts(True, 2)
    lean, spec = convert_text(model, HEADS["classification"])
    with torch.inference_mode():
        expected = lean(**inputs)[0]
    other = {"epsilon": {"epsilon": 1e-12}, "activation": {"activation": "gelu"}}.get(name, {})
    changed = build({**spec, **other})
    changed.load_state_dict(lean.state_dict())
    if name == "types":
        del inputs["token_type_ids"]
    with torch.inference_mode():
        assert not torch.allclose(changed(**inputs)[0], expected, **CLOSE)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_poolings(pooling, normalize):
    model, inputs = text_model("bert", "pooled"), texts(True)
    lean, _ = convert_text(model, {"kind": "pooled", "pooling": pooling, "normalize": normalize})
    with torch.inference_mode():
        (found,), hidden = lean(**inputs), model(**inputs).last_hidden_state
    for row, (vectors, count) in enumerate(zip(hidden, inputs["attention_mask"].sum(1), strict=True)):
        kept = vectors[:count]
        expected = {"mean": kept.mean(0), "cls": kept[0], "max": kept.amax(0)}[pooling]
        expected = expected / expected.norm() if normalize else expected
        assert torch.allclose(found[row], expected, atol=1e-5)


def test_positions_behind_the_last_one_are_an_error():
    lean, spec = convert_text(text_model("roberta", "pooled"), HEADS["pooled"])
    assert spec["positions"] == 40 - 5  # positions up to the padding position are not for texts
    ids = torch.full((1, 36), 9)
    with torch.inference_mode():
        assert lean(ids[:, :35])[0].shape == (1, 64)
        with pytest.raises(ValueError, match="36 tokens; this model takes 35 at most"):
            lean(ids)


def test_results_are_written_into_the_tensors_given():
    model, inputs = text_model("distilbert", "span"), texts(True)
    lean, _ = convert_text(model, HEADS["span"])
    out = tuple(torch.zeros(3, 11) for _ in range(2))
    with torch.inference_mode():
        returned, expected = lean(**inputs, out=out), lean(**inputs)
    for one, other, wanted in zip(out, returned, expected, strict=True):
        assert torch.equal(one, wanted) and one.data_ptr() == other.data_ptr()


@pytest.mark.parametrize(
    "family, settings, said",
    [
        ("bert", {"hidden_act": "swish"}, "bert with hidden_act 'swish'"),
        ("distilbert", {"activation": "silu"}, "distilbert with activation 'silu'"),
        ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key'"),
        ("roberta", {"is_decoder": True}, "roberta with is_decoder True"),
        ("bert", {"is_decoder": True, "add_cross_attention": True}, "is_decoder True"),
    ],
)
def test_an_unknown_setting_is_refused_by_name_before_and_at_conversion(family, settings, said):
    model = text_model(family, "pooled", **settings)
    sentence = unsupported({"model_type": family, **settings}, HEADS["pooled"])
    assert said in sentence and sentence.endswith("use fp16 or another variant.")
    with pytest.raises(LeanError, match=said):
        convert_text(model, HEADS["pooled"])


def test_models_without_a_lean_form_are_refused_by_name():
    config = {"model_type": "mpnet", "relative_attention_num_buckets": 32}
    assert "'mpnet' is none of the text families" in unsupported(config, HEADS["pooled"])
    assert "span head of 3 labels" in unsupported({"model_type": "bert", "num_labels": 3}, HEADS["span"])
    sparse = {"kind": "pooled", "pooling": "lasttoken", "normalize": True}
    assert "pooling 'lasttoken'" in unsupported({"model_type": "bert"}, sparse)
    assert "hidden_size 50, which 4" in unsupported(
        {"model_type": "bert", "hidden_size": 50, "num_attention_heads": 4}, HEADS["pooled"]
    )
    assert all(unsupported({"model_type": family}, head) is None for family in FAMILIES for head in HEADS.values())


def test_sizes_that_the_kernels_do_not_support_are_named():
    def reason(family, **settings):
        return convert_text(text_model(family, "mask", **settings), HEADS["mask"])[0].plain_reason

    assert reason("bert") is None
    assert reason("bert", width=48) == "width 48 is no multiple of 64"
    assert reason("bert", intermediate_size=100) == "inner 100 is no multiple of 64"
    assert reason("electra", hidden_act="gelu", embedding_size=32) == "embedding width 32 is no multiple of 64"
    assert reason("bert", num_attention_heads=8) == ("attention heads of 8 numbers are none of 16, 32, 64, 128")
    assert reason("distilbert") == "the kernels have no activation 'relu'"


def image_head(library, architecture, features=False):
    return {"kind": "image", "library": library, "architecture": architecture, "classes": 7, "features": features}


def same_images(network, head):
    scale, shift = torch.rand(3) / 50, torch.randn(3) / 4
    lean, spec = convert_image(network, (scale.view(1, 3, 1, 1), shift.view(1, 3, 1, 1)), head)
    shared = {each.data_ptr() for each in lean.parameters()} & {each.data_ptr() for each in network.parameters()}
    assert not shared  # changes of the lean network must not change the library's network
    lean = rebuilt(lean, spec)
    pixels = torch.randint(0, 256, (2, 64, 96, 3), dtype=torch.uint8)
    with torch.inference_mode():
        (found,), expected = lean(pixels), network((pixels.float() * scale + shift).permute(0, 3, 1, 2))
    expected = getattr(expected, "logits", expected)
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


@pytest.mark.parametrize(
    "name, features",
    [
        ("resnet18", False),
        ("resnet18", True),
        ("resnet50", False),
        ("resnext50_32x4d", False),
        ("wide_resnet50_2", True),
    ],
)
def test_torchvisions_networks(name, features):
    from torchvision.models import get_model

    torch.manual_seed(0)
    network = with_real_norms(get_model(name, weights=None, num_classes=7))
    if features:
        network.fc = nn.Identity()
    same_images(network, image_head("torchvision", name, features))


def test_torchvisions_dilated_network():
    from torchvision.models import resnet50

    torch.manual_seed(0)
    dilated = [False, True, True]
    network = with_real_norms(resnet50(weights=None, num_classes=7, replace_stride_with_dilation=dilated))
    same_images(network, image_head("torchvision", "resnet50"))


@pytest.mark.parametrize("name, features", [("resnet18", False), ("resnet26", True), ("resnext50_32x4d", False)])
def test_timms_networks(name, features):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    network = with_real_norms(timm.create_model(name, num_classes=0 if features else 7))
    same_images(network, image_head("timm", f"{name}.a1_in1k", features))


@pytest.mark.parametrize("layer", ["basic", "bottleneck"])
@pytest.mark.parametrize("first", [True, False])
def test_transformers_networks(layer, first):
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    sizes = {"embedding_size": 16, "hidden_sizes": [32, 64], "depths": [2, 2], "num_labels": 7}
    config = ResNetConfig(layer_type=layer, downsample_in_first_stage=first, downsample_in_bottleneck=first, **sizes)
    network = with_real_norms(ResNetForImageClassification(config))
    same_images(network, image_head("transformers", "resnet"))


def test_transformers_features():
    from transformers import ResNetConfig, ResNetModel

    torch.manual_seed(0)
    sizes = {"embedding_size": 16, "hidden_sizes": [32, 64], "depths": [1, 1]}
    network = with_real_norms(ResNetModel(ResNetConfig(layer_type="basic", **sizes)))
    head = image_head("transformers", "resnet", features=True)
    lean, _ = convert_image(network, (torch.ones(3) / 99, torch.zeros(3)), head)
    pixels = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        expected = network((pixels.float() / 99).permute(0, 3, 1, 2)).pooler_output.flatten(1)
        assert torch.allclose(lean(pixels)[0], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["resnet50d", "seresnet50", "resnetblur50", "resnet50_gn", "vit_tiny_patch16_224"])
def test_timms_other_networks_are_refused_by_name(name):
    assert f"{name!r} of timm is none of the plain ResNets" in unsupported({}, image_head("timm", name))


@pytest.mark.parametrize(
    "setting, value, said",
    [
        ("stem_type", "deep", "convolution Sequential"),
        ("avg_down", True, "whose shortcut is more than"),
        ("act_layer", "silu", "activation SiLU"),
        ("norm_layer", "GroupNorm", "GroupNorm"),
        ("block_args", {"attn_layer": "se"}, "se (SEModule)"),
        ("aa_layer", "BlurPool2d", "stem's pooling"),
    ],
)
def test_a_timm_network_with_a_plain_name_and_other_parts_is_refused(setting, value, said):
    timm = pytest.importorskip("timm")
    part = getattr(timm.layers, value, value) if isinstance(value, str) else value
    network = timm.create_model("resnet26", num_classes=7, **{setting: part}).eval()
    with pytest.raises(LeanError) as refused:
        convert_image(network, (torch.ones(3), torch.zeros(3)), image_head("timm", "resnet26"))
    assert said in str(refused.value) and str(refused.value).endswith("use fp16 or another variant.")
    assert f"model_args {setting};" in unsupported({"model_args": {setting: value}}, image_head("timm", "resnet26"))


def test_other_image_models_are_refused_by_name():
    head = image_head("transformers", "vit")
    assert "'vit' is no image family" in unsupported({"model_type": "vit"}, head)
    assert "hidden_act 'gelu'" in unsupported({"model_type": "resnet", "hidden_act": "gelu"}, head)
    assert unsupported({"model_type": "resnet"}, head) is None
    for name in ("vit_b_16", "convnext_tiny", "efficientnet_b0", "resnet50_quantized"):
        assert f"{name!r} of torchvision is none" in unsupported({}, image_head("torchvision", name))
    assert "global_pool 'max'" in unsupported({"global_pool": "max"}, image_head("timm", "resnet50.a1_in1k"))


def test_image_results_are_written_into_the_tensor_given():
    from torchvision.models import resnet18

    for features, width in ((False, 7), (True, 512)):
        network = with_real_norms(resnet18(weights=None, num_classes=7))
        head = image_head("torchvision", "resnet18", features)
        lean, _ = convert_image(network, (torch.ones(3), torch.zeros(3)), head)
        out = torch.zeros(1, width)
        with torch.inference_mode():
            pixels = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8)
            assert torch.equal(lean(pixels, out=(out,))[0], lean(pixels)[0]) and float(out.abs().sum()) > 0
