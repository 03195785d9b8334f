"""Checkpoint folders from the Hugging Face hub, or from its cache on this machine."""

from __future__ import annotations

from pathlib import Path

from export.errors import WeightsError

FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]  # no pickle
LEFT_OUT = ["onnx/*", "openvino/*", "*/onnx/*"]  # other engines' copies of the same weights


def snapshot(repository: str, revision: str, way_out: str) -> Path:
    """The folder of one revision ("" for the newest). Its name is the commit. Raises WeightsError, whose sentence ends
    with ``way_out``."""
    from huggingface_hub import snapshot_download

    try:
        found = Path(snapshot_download(
            repository, revision=revision or None, allow_patterns=FILES, ignore_patterns=LEFT_OUT
        ))  # fmt: skip
        if not any(found.glob("*.safetensors")):
            found = Path(snapshot_download(
                repository, revision=revision or None, allow_patterns=[*FILES, "pytorch_model.bin"]
            ))  # fmt: skip
    except (OSError, ValueError) as error:
        detail = (str(error).strip() or type(error).__name__).splitlines()[0]
        where = repository + (f"@{revision}" if revision else "")
        raise WeightsError(f"{where} could not be loaded from the hub ({detail}); {way_out}") from None
    return found
