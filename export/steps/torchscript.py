"""Steps for TorchScript: trace or script, freeze, half precision."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

from export.steps.draft import Draft, step


@step
def to_torchscript(draft: Draft) -> None:
    """Makes a TorchScript module, saved as model.pt. torchvision's networks are scripted, all others are traced."""
    import torch

    with torch.inference_mode(), warnings.catch_warnings():
        # The warnings are about constants in the trace. The parity check tests those with other shapes.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        if draft.is_image and draft.checkpoint.head["library"] == "torchvision":
            scripted = torch.jit.script(draft.module)
        else:
            # check_trace would run the model again on the same input. The parity check has other shapes.
            scripted = torch.jit.trace(draft.module, draft.examples, check_trace=False)
    draft.module, draft.runtime = scripted, "torchscript"
    draft.save = lambda stage: _save_torchscript(scripted, stage / "model.pt")


def _save_torchscript(module: Any, path: Path) -> None:
    """Saves without debug records, since they contain this machine's paths and would change the archive's bytes."""
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
    """Makes the worker freeze the TorchScript module and optimize it for inference, since the result is not portable.

    On a CPU, oneDNN chooses the layout of the weights. For a GPU, this step sets channels-last.
    """
    if draft.examples[0].is_cuda:
        _channels_last(draft)
    draft.settings["freeze"] = True


@step
def half(draft: Draft) -> None:
    """Converts weights and activations to fp16."""
    draft.module = draft.module.half()
    _channels_last(draft)
    draft.settings["precision"] = "fp16"


def _channels_last(draft: Draft) -> None:
    """Converts image models to channels-last, which tensor cores read without a transpose."""
    import torch

    if draft.is_image:
        draft.module.to(memory_format=torch.channels_last)
        draft.module.channels_last = True
