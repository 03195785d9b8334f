"""Steps for int8 on the CPU, calibrated on real data. The method was the best in measurements for each kind of model.

Image networks are quantized after training by NNCF and run by OpenVINO. In BERT, the weights of linear layers have 7
bits, and their inputs have 8 bits, scaled per call. The few input channels with outliers stay fp32 (as in LLM.int8(),
Dettmers et al., 2022).
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from export.steps.draft import Draft, step
from export.steps.engines import to_openvino_model, without_torch

OUTLIERS = 8  # fp32 input channels per linear layer; without them, the embeddings' cosine falls from 0.997 to 0.963
# AVX2 adds two products of 8-bit numbers in 16 bits: 2 x 255 x 63 fits, 2 x 255 x 127 would saturate.
WEIGHT_MAXIMUM = 63


@step
def quantize_linear(draft: Draft) -> None:
    """Quantizes the encoder's linear layers to int8. Weights are scaled per output channel, activations per call."""
    from export.calibration import text_batches

    encoder = draft.module.base
    names = [name for name, module in encoder.named_modules() if isinstance(module, nn.Linear)]
    largest = _largest_inputs(draft.module, encoder, names, text_batches(draft))
    for name in names:
        parent, _, attribute = name.rpartition(".")
        setattr(encoder.get_submodule(parent), attribute, Int8Linear(encoder.get_submodule(name), largest[name]))
    draft.settings["precision"] = "int8"


class Int8Linear(nn.Module):
    """``linear`` in int8, except the input channels with outliers, which stay fp32. ``largest``, float [inputs], has
    the largest magnitude of each input channel in calibration."""

    def __init__(self, linear: nn.Linear, largest: Tensor) -> None:
        super().__init__()
        self.outliers: Tensor
        self.outlier_weight: Tensor
        self.kept: Tensor
        weight = linear.weight.detach().clone()
        outliers = largest.argsort(descending=True)[:OUTLIERS].sort().values
        self.register_buffer("outliers", outliers)
        self.register_buffer("outlier_weight", weight[:, outliers].t().contiguous())
        weight[:, outliers] = 0
        self.register_buffer("kept", torch.ones(weight.size(1)).index_fill(0, outliers, 0.0))
        self.packed = torch.ops.quantized.linear_prepack(_quantized(weight), linear.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output, float [..., outputs], of float [..., inputs]."""
        product: Tensor = torch.ops.quantized.linear_dynamic(x * self.kept, self.packed, False)
        return product + x.index_select(-1, self.outliers) @ self.outlier_weight


def _quantized(weight: Tensor) -> Tensor:
    # torch has deprecated its quantized tensors. The supported releases still have them.
    warnings.filterwarnings("ignore", message=".*quantized tensor creation functions.*")
    scales = (weight.abs().amax(1) / WEIGHT_MAXIMUM).clamp(min=1e-8).double()
    return torch.quantize_per_channel(weight, scales, torch.zeros(len(scales), dtype=torch.long), 0, torch.qint8)


def _largest_inputs(module: Any, encoder: nn.Module, names: list[str], batches: list[Any]) -> dict[str, Tensor]:
    """The largest magnitude of each input channel of each layer over ``batches``."""
    largest: dict[str, Tensor] = {}

    def watch(name: str) -> Any:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen = inputs[0].abs().flatten(0, -2).amax(0)
            largest[name] = torch.maximum(largest.get(name, seen), seen)

        return hook

    handles = [encoder.get_submodule(name).register_forward_pre_hook(watch(name)) for name in names]
    with torch.inference_mode():
        for batch in batches:
            module(*batch)
    for handle in handles:
        handle.remove()
    return {name: seen.clone() for name, seen in largest.items()}


@step
def to_openvino_int8(draft: Draft) -> None:
    """Makes an OpenVINO model with convolutions and products in int8, calibrated on suitable images."""
    from export.calibration import image_batches

    draft.runtime = "openvino"
    draft.settings["precision"] = "int8"

    def save(stage: Path) -> None:
        import nncf
        import openvino

        model = to_openvino_model(draft, stage)
        batches = image_batches(draft)
        with contextlib.redirect_stdout(io.StringIO()):  # NNCF's progress bars would break the build's
            nncf.set_log_level(logging.ERROR)
            kept = nncf.IgnoredScope(names=kept_in_fp32(model), validate=False)
            # Attention needs other quantization ranges than convolutions. NNCF chooses them for this model type.
            kind = nncf.ModelType.TRANSFORMER if has_attention(model) else None
            quantized = nncf.quantize(
                model, nncf.Dataset(batches), subset_size=len(batches), ignored_scope=kept, model_type=kind
            )
        openvino.save_model(quantized, stage / "model.xml", compress_to_fp16=False)
        without_torch(stage)

    draft.save = save


def kept_in_fp32(model: Any) -> list[str]:
    """The layers of an OpenVINO network that stay fp32: the first two convolutions of a network with depthwise ones.

    Their channels differ most in magnitude. EfficientNet-Lite0's smallest cosine over the case photographs is 0.988
    with these layers in int8, and 0.997 with them in fp32. ResNet-50's is 0.999 with them in int8.
    """
    layers = [op for op in model.get_ordered_ops() if op.get_type_name() in ("Convolution", "GroupConvolution")]
    depthwise = any(op.get_type_name() == "GroupConvolution" for op in layers)
    return [op.friendly_name for op in layers[:2]] if depthwise else []


def has_attention(model: Any) -> bool:
    """Whether an OpenVINO network computes a softmax, or attention as one operation."""
    return any(op.get_type_name() in ("Softmax", "ScaledDotProductAttention") for op in model.get_ops())
