"""Steps for engines whose workers need no torch: ONNX Runtime, OpenVINO, and the archive without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from export.steps.draft import Draft, step


@step
def answer_at_once(draft: Draft) -> None:
    """Makes the archive ``null``, which has no model and shows the latency of the server alone."""
    draft.runtime = "null"
    draft.save = without_torch


def without_torch(stage: Path) -> None:
    """Adds a replacement for the module torch to an archive that needs no torch.

    TorchServe's worker imports torch for a single isinstance check, which costs 2 s and 300 MB of private memory. The
    archive's folder comes first on the worker's path, so the replacement is imported.
    """
    (stage / "torch.py").write_text(
        '"""A replacement for torch, which this archive does not need. TorchServe\'s worker imports it."""\n\n\n'
        "class Tensor:\n    pass\n"
    )


@step
def to_onnx(draft: Draft) -> None:
    """Makes an ONNX graph for any batch size and length. ONNX Runtime runs it without torch."""
    draft.runtime = "onnx"

    def save(stage: Path) -> None:
        _export_onnx(draft, stage / "model.onnx")
        without_torch(stage)

    draft.save = save


@step
def to_openvino(draft: Draft) -> None:
    """Makes an OpenVINO model from the ONNX graph. It runs without torch."""
    draft.runtime = "openvino"

    def save(stage: Path) -> None:
        import openvino

        openvino.save_model(to_openvino_model(draft, stage), stage / "model.xml", compress_to_fp16=False)
        without_torch(stage)

    draft.save = save


def to_openvino_model(draft: Draft, scratch: Path) -> Any:
    """The draft's module as an OpenVINO model for any batch size and length."""
    import openvino

    onnx = scratch / "model.onnx"
    _export_onnx(draft, onnx)
    model = openvino.convert_model(onnx)
    onnx.unlink()
    return model


def _export_onnx(draft: Draft, path: Path) -> None:
    import torch

    shapes = draft.dynamic_shapes(torch.export.Dim("batch"), torch.export.Dim("length"))
    with torch.inference_mode():
        torch.onnx.export(
            draft.module, draft.examples, path, dynamo=True, dynamic_shapes=shapes,
            # The prefix avoids names that the exporter gives its own nodes, such as "embedding": a name may be used
            # only once.
            input_names=[f"input_{each.name}" for each in draft.inputs],
            output_names=[f"output_{each.name}" for each in draft.outputs],
            external_data=False, verbose=False,
        )  # fmt: skip
