"""Steps for int8 on the CPU, calibrated on real data. The method was the best in measurements for each kind of model.

Image networks are quantized after training by NNCF, with weights of 7 bits, and run by OpenVINO. In BERT, the weights
of linear layers have 7 bits, and their inputs have 8 bits, scaled per call. The few input channels with outliers stay
fp32 (as in LLM.int8(), Dettmers et al., 2022).
"""

from __future__ import annotations

import contextlib
import io
import logging
from pathlib import Path
from typing import Any

from export.steps.draft import Draft, step
from export.steps.engines import to_openvino_model, without_torch


@step
def quantize_linear(draft: Draft) -> None:
    """Quantizes the encoder's linear layers to int8. Weights are scaled per output channel, activations per call."""
    from torch import nn

    from export.calibration import text_batches
    from export.steps.int8_linear import Int8Linear, largest_inputs

    encoder = draft.module.base
    names = [name for name, module in encoder.named_modules() if isinstance(module, nn.Linear)]
    largest = largest_inputs(draft.module, encoder, names, text_batches(draft))
    for name in names:
        parent, _, attribute = name.rpartition(".")
        setattr(encoder.get_submodule(parent), attribute, Int8Linear(encoder.get_submodule(name), largest[name]))
    draft.settings["precision"] = "int8"


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
            # Weights of 7 bits, on any processor: the archive may be served on another one. Without VNNI, AVX2 adds two
            # products of 8-bit numbers in 16 bits, which saturates for larger weights.
            advanced = nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE)
            quantized = nncf.quantize(
                model, nncf.Dataset(batches), subset_size=len(batches), ignored_scope=kept, model_type=kind,
                advanced_parameters=advanced,
            )  # fmt: skip
        openvino.save_model(quantized, stage / "model.xml", compress_to_fp16=False)
        without_torch(stage)

    draft.save = save


def kept_in_fp32(model: Any) -> list[str]:
    """The layers of an OpenVINO network that stay fp32: the first two convolutions of a network with depthwise ones.

    Their channels differ most in magnitude. With weights of 8 bits and VNNI, EfficientNet-Lite0's smallest cosine over
    the case photographs is 0.988 with these layers in int8, and 0.997 with them in fp32. ResNet-50's is 0.999 with them
    in int8. On AVX2 without VNNI it is 0.986 with weights of 8 bits, and 0.991 with weights of 7.
    """
    layers = [op for op in model.get_ordered_ops() if op.get_type_name() in ("Convolution", "GroupConvolution")]
    depthwise = any(op.get_type_name() == "GroupConvolution" for op in layers)
    return [op.friendly_name for op in layers[:2]] if depthwise else []


def has_attention(model: Any) -> bool:
    """Whether an OpenVINO network computes a softmax, or attention as one operation."""
    return any(op.get_type_name() in ("Softmax", "ScaledDotProductAttention") for op in model.get_ops())
