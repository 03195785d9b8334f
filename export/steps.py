"""Steps: each turns a draft into a slightly different draft. A variant is a list of their names.

A draft starts as the eager fp32 model with its checkpoint files; when the steps are through, it is written to the
archive's stage. Knows torch and the draft, not archives.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from export.weights import Checkpoint

EAGER_FILES = ("config.json", "model.safetensors")  # what only the eager runtime reads of a checkpoint folder


@dataclass
class Draft:
    """An archive's model on its way: the module, how the worker will run it, and what to write."""

    module: Any
    examples: tuple[Any, ...]  # one batch of input tensors, on the module's device
    checkpoint: Checkpoint
    runtime: str = "eager"
    settings: dict[str, Any] = field(default_factory=dict)  # added to the archive section of model-config.yaml
    save: Callable[[Path], Any] | None = None  # writes the checkpoint into the stage; None: the eager files


STEPS: dict[str, Callable[[Draft], None]] = {}


class StepError(Exception):
    """A variant names a step that does not exist."""


def step(function: Callable[[Draft], None]) -> Callable[[Draft], None]:
    """Registers a step under its function's name."""
    STEPS[function.__name__] = function
    return function


def apply(names: tuple[str, ...], draft: Draft) -> Draft:
    """Runs the named steps in order. Raises StepError with the known names."""
    for name in names:
        if name not in STEPS:
            raise StepError(f"There is no step {name!r}; known: {', '.join(sorted(STEPS))}.")
        STEPS[name](draft)
    return draft


@step
def answer_at_once(draft: Draft) -> None:
    """No model at all: the server's own floor."""
    draft.runtime = "null"
    draft.save = without_torch


def without_torch(stage: Path) -> None:
    """Ships a stand-in for torch with an archive that needs none.

    TorchServe's worker imports torch for one isinstance check, which costs 2 s and 300 MB of private memory; the
    archive's folder comes first on its path.
    """
    (stage / "torch.py").write_text(
        '"""A stand-in: this archive runs without torch, of which TorchServe\'s worker wants this name."""\n\n\n'
        "class Tensor:\n    pass\n"
    )


@step
def to_torchscript(draft: Draft) -> None:
    """TorchScript as the seed document makes it: BERT traced, ResNet scripted, saved as model.pt."""
    import torch

    with torch.inference_mode():
        if len(draft.examples) == 1:
            scripted = torch.jit.script(draft.module)
        else:
            # check_trace would run the model again on the same input; parity checks other shapes, in the archive.
            scripted = torch.jit.trace(draft.module, draft.examples, check_trace=False)
    draft.module, draft.runtime = scripted, "torchscript"
    draft.save = lambda stage: _save_torchscript(scripted, stage / "model.pt")


def _save_torchscript(module: Any, path: Path) -> None:
    """Saves without debug records: they hold this machine's paths, so equal inputs would give unequal bytes."""
    import torch

    raw = path.with_suffix(".raw")
    torch.jit.save(module, raw)
    with zipfile.ZipFile(raw) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as target:
        for entry in source.infolist():
            name = entry.filename.split("/", 1)[1]
            if name.endswith(".debug_pkl") or name.startswith("traced_inputs") or name.endswith("serialization_id"):
                continue
            clean = zipfile.ZipInfo(f"model/{name}", date_time=(1980, 1, 1, 0, 0, 0))
            target.writestr(clean, source.read(entry))
    raw.unlink()


@step
def freeze(draft: Draft) -> None:
    """Freezes the TorchScript module and optimizes it for inference; at load, since the result is not portable."""
    draft.settings["freeze"] = True


@step
def half(draft: Draft) -> None:
    """fp16 weights and activations; image models in channels-last, which tensor cores read without a transpose."""
    import torch

    draft.module = draft.module.half()
    if len(draft.examples) == 1:
        draft.module = draft.module.to(memory_format=torch.channels_last)
        draft.module.channels_last = True
    draft.settings["precision"] = "fp16"


@step
def lean(draft: Draft) -> None:
    """The same network with fewer and larger kernels (handlers/lean.py)."""
    from safetensors.torch import save_file

    from handlers.lean import lean_bert, lean_resnet

    image = len(draft.examples) == 1
    task = {1: "classification", 2: "embedding", 3: "fill-mask"}[len(draft.examples)]
    draft.module, spec = lean_resnet(draft.module) if image else lean_bert(task, draft.module)
    draft.settings["lean"] = spec

    def save(stage: Path) -> None:  # as the later steps leave it
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in draft.module.state_dict().items()}
        save_file(state, stage / "model.safetensors")

    draft.save = save


@step
def cuda_graph(draft: Draft) -> None:
    """Replayed from CUDA graphs, one per bucket of batch size and length."""
    draft.runtime = "graph"
    draft.settings["buckets"] = {"batches": [1, 2, 4, 8, 16, 32]}
    if len(draft.examples) > 1:
        limit = draft.checkpoint.settings["input"]["max_length"]
        draft.settings["buckets"]["lengths"] = [length for length in (16, 32, 64, 128, 256) if length < limit] + [limit]


@step
def to_onnx(draft: Draft) -> None:
    """An ONNX graph of any batch size and length, run by ONNX Runtime without torch."""
    module, examples = draft.module, draft.examples
    draft.runtime = "onnx"

    def save(stage: Path) -> None:
        _export_onnx(module, examples, stage / "model.onnx")
        without_torch(stage)

    draft.save = save


@step
def to_openvino(draft: Draft) -> None:
    """OpenVINO's own format, converted from ONNX, run without torch."""
    module, examples = draft.module, draft.examples
    draft.runtime = "openvino"

    def save(stage: Path) -> None:
        import openvino

        onnx = stage / "model.onnx"
        _export_onnx(module, examples, onnx)
        openvino.save_model(openvino.convert_model(onnx), stage / "model.xml", compress_to_fp16=False)
        onnx.unlink()
        without_torch(stage)

    draft.save = save


def _export_onnx(module: Any, examples: tuple[Any, ...], path: Path) -> None:
    import torch

    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    shapes = tuple({0: batch, 1: length} if e.dim() == 2 else {0: batch} for e in examples)
    names = [f"input_{index}" for index in range(len(examples))]
    with torch.inference_mode():
        torch.onnx.export(
            module, examples, path, dynamo=True, dynamic_shapes=shapes, input_names=names, output_names=["output"],
            external_data=False, verbose=False,
        )  # fmt: skip
