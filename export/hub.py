"""Checkpoint folders from the Hugging Face hub, or from its cache on this machine.

If the hub cannot be reached, huggingface_hub tries six times with pauses (30 s in all) and has no setting for it. So
this module first checks once whether the hub answers.
"""

from __future__ import annotations

from pathlib import Path

from export.catalog import Source
from export.errors import CheckpointError

TIMEOUT_S = 10
BUSY = 429  # with this status, or one from 500 on, the hub cannot give files at the moment
FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]  # pickles are not downloaded
LEFT_OUT = ["onnx/*", "openvino/*", "*/onnx/*"]  # other engines' copies of the same weights


def snapshot(source: Source, way_out: str) -> Path:
    """The folder of a source's revision ("" for the newest). The folder's name is the commit.

    Raises CheckpointError. Its message ends with ``way_out``, the advice to the user.
    """
    _require_id(source)
    silent = silence(source)
    if silent and not cached(source):
        raise CheckpointError(f"{_named(source)} could not be loaded ({silent}); {way_out}")
    found = _download(source, FILES, bool(silent), way_out)
    if any(found.glob("*.safetensors")):
        return found
    return _download(source, [*FILES, "pytorch_model.bin"], bool(silent), way_out)


def _require_id(source: Source) -> None:
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(source.name)
    except HFValidationError:
        raise CheckpointError(
            f"{source.name} is neither a file or folder here nor a hub id; expected MODEL=/path or MODEL=owner/name."
        ) from None


def _download(source: Source, files: list[str], local: bool, way_out: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(
            source.name, revision=source.revision or None, allow_patterns=files, ignore_patterns=LEFT_OUT,
            local_files_only=local,
        ))  # fmt: skip
    except (OSError, ValueError) as error:
        detail = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{_named(source)} could not be loaded from the hub ({detail}); {way_out}") from None


def _named(source: Source) -> str:
    return source.name + (f"@{source.revision}" if source.revision else "")


def silence(source: Source) -> str:
    """The reason why the hub cannot give this source's files at the moment. Empty if it can, and if it refuses them
    permanently."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    url = hf_hub_url(source.name, "config.json", revision=source.revision or None)
    try:
        get_hf_file_metadata(url, timeout=TIMEOUT_S)
    except OfflineModeIsEnabled:
        return "HF_HUB_OFFLINE is set and the hub's cache does not hold it"
    except HfHubHTTPError as error:
        status = error.response.status_code
        return f"the hub answers {status}" if status == BUSY or status >= 500 else ""
    except Exception as error:  # errors of the HTTP library, which differs between releases of huggingface_hub
        return f"the hub does not answer: {str(error) or type(error).__name__}"
    return ""


def cached(source: Source) -> bool:
    """Whether the hub's cache on this machine has this revision."""
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(source.name, "config.json", revision=source.revision or None), str)
