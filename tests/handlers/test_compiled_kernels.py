"""Every Triton kernel that the lean networks launch early compiles for a Hopper GPU. No GPU is needed. Triton's
interpreter does not show this: it accepts more than the compiler, and skips GPU-only parts."""

import pytest
import torch

pytest.importorskip("triton", reason="torch's builds for the CPU alone come without Triton")
ENCODER = {
    "network": "encoder", "width": 128, "embedding_width": 64, "heads": 2, "inner": 128, "layers": 1, "vocabulary": 500,
    "positions": 64, "types": 2, "epsilon": 1e-5, "activation": "gelu", "mask_activation": "gelu", "classes": 3,
    "class_activation": "tanh",
}  # fmt: skip
RESNET = {
    "network": "resnet", "stem": [8, 64, 7, 2, 3, 1, 1],
    "blocks": [{
        "convolutions": [[64, 64, 1, 1, 0, 1, 1], [64, 64, 3, 2, 1, 1, 1]], "shortcut": [64, 64, 1, 2, 0, 1, 1],
    }],
    "features": 64, "classes": 10,
}  # fmt: skip
TYPES = {
    torch.float16: "*fp16", torch.float32: "*fp32", torch.int64: "*i64", torch.int32: "*i32", torch.int8: "*i8",
    torch.uint8: "*u8", torch.float8_e4m3fn: "*fp8e4nv",
}  # fmt: skip


@pytest.fixture
def compiled(monkeypatch):
    """(name, PTX) of each kernel. Launches are replaced by compilations."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from handlers.lean import convolutions, fp8_kernels, fp8_products, images, kernels, norms, products, ranking

    found = []

    def compile_for_hopper(kernel, grid, device, *arguments, **options):
        named = dict(zip((each.name for each in kernel.params), (*arguments, True), strict=True))
        constants = {each.name: named.pop(each.name) for each in kernel.params if _constant(each, named[each.name])}
        signature = {name: _type(value) for name, value in named.items()} | dict.fromkeys(constants, "constexpr")
        source = ASTSource(kernel, signature, constexprs=constants)
        done = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={**options, "launch_pdl": True})
        found.append((kernel.__name__, done.asm["ptx"]))

    for module in (convolutions, fp8_kernels, fp8_products, images, kernels, norms, products, ranking):
        monkeypatch.setattr(module, "launch", compile_for_hopper)
    monkeypatch.setattr(
        convolutions, "_fastest", lambda x, c, add, relu: (convolutions.tiles(x, c) or [convolutions.FUSED])[-1]
    )
    monkeypatch.setattr(convolutions, "fused", lambda x, c, add, relu: c(x))
    return found


def _constant(parameter, value):
    """Whether the argument is a constant of the kernel. As at a launch, the integer 1 is one as well."""
    return parameter.is_constexpr or value is None or (isinstance(value, int) and value == 1)


def _type(value):
    if isinstance(value, torch.Tensor):
        return TYPES[value.dtype]
    if hasattr(value, "block_shape"):
        return f"tensordesc<{TYPES[value.base.dtype].removeprefix('*')}{value.block_shape}>"
    return "i32" if isinstance(value, int) else "fp32"


HEADS = [
    {"kind": "mask"},
    {"kind": "classification"},
    {"kind": "tokens"},
    {"kind": "span"},
    {"kind": "pooled", "pooling": "mean", "normalize": True},
    {"kind": "pooled", "pooling": "mean", "normalize": False},
    {"kind": "pooled", "pooling": "max", "normalize": True},
    {"kind": "pooled", "pooling": "cls", "normalize": True},
]


@pytest.mark.parametrize("head", HEADS, ids=lambda head: " ".join(map(str, head.values())))
def test_encoders(compiled, monkeypatch, head):
    from handlers.lean import build, kernels

    model = build({**ENCODER, "head": head}).half()
    assert model.plain_reason is None
    monkeypatch.setattr(model, "_operators", lambda: kernels)
    ids, position = torch.zeros(2, 9, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)
    extra = {"mask_position": position, "best": best_of(2)} if head["kind"] == "mask" else {}
    with torch.inference_mode():
        for mask, types in ((None, None), (torch.ones_like(ids), ids)):
            model(ids, mask, types, **extra)
    pooled = {"pooled": {"_pool"}, "mask": {"_rank"}}.get(head["kind"], set())
    products = {"_product", "_product_before_norm", "_product_in_parts"}
    assert {name for name, _ in compiled} == {"_embed", "_attention", "_add_norm", *products, *pooled}
    assert all(("prefetch.global.L2" in code) == (name in products) for name, code in compiled)
    assert all("griddepcontrol.wait" in code for _, code in compiled)


@pytest.mark.parametrize("kept, fused", [(None, True), (None, False), ("down", True), ("up", True)])
def test_an_encoder_in_fp8(compiled, monkeypatch, kept, fused):
    """``kept`` stays fp16: what comes before it is not written as e4m3."""
    from handlers.lean import build, fp8, fp8_kernels, kernels

    scales = {**dict.fromkeys(fp8.PRODUCTS, 0.01), **({kept: None} if kept else {})}
    model = build({**ENCODER, "layers": 2, "head": {"kind": "tokens"}, "fp8": [scales] * 2}).half()
    model.fp8_rows = 0
    monkeypatch.setattr(model, "_operators", lambda: kernels)
    monkeypatch.setattr(fp8, "_operators", lambda x: fp8_kernels)
    monkeypatch.setattr(fp8_kernels, "fuses", lambda device: fused)
    # cuBLASLt's products are a GPU's.
    monkeypatch.setattr(
        fp8_kernels, "linear", lambda x, layer, scale: torch.zeros(*x.shape[:-1], layer.out_features).half()
    )
    with torch.inference_mode():
        model(torch.zeros(2, 64, dtype=torch.int64))
    in_e4m3 = {(name, "cvt.rn.satfinite.e4m3x2.f32" in code) for name, code in compiled}
    assert ("_attention", True) in in_e4m3 and ("_embed", False) in in_e4m3
    assert ("_quantise", True) in in_e4m3
    assert (("_product_gelu", True) in in_e4m3) == (fused and not kept)
    assert {narrow for name, narrow in in_e4m3 if name == "_add_norm"} == {True, False}
    assert all("griddepcontrol.wait" in code for _, code in compiled)
    fast = [code for name, code in compiled if name == "_product_gelu"]
    assert all("wgmma.mma_async" in code and "cp.async.bulk.tensor" in code for code in fast)


def best_of(count):
    return torch.zeros(count, 8, dtype=torch.int32), torch.zeros(count, 8)


def test_resnets(compiled, monkeypatch):
    from handlers.lean import build, kernels

    model = build(RESNET).half().to(memory_format=torch.channels_last)
    monkeypatch.setattr(model, "_operators", lambda: kernels)
    monkeypatch.setattr(
        kernels, "normalise", lambda pixels, scale, shift, channels, dtype: torch.zeros(1, 8, 64, 64, dtype=dtype)
    )
    with torch.inference_mode():
        model(torch.zeros(1, 64, 64, 3, dtype=torch.uint8), best=best_of(1))
    assert {name for name, _ in compiled} == {"_max_pool", "_convolve", "_sum", "_mean", "_product", "_rank"}
    assert all(("prefetch.global.L2" in code) == (name in ("_convolve", "_product")) for name, code in compiled)
