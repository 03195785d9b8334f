"""Reads weights files. Only tensors are read, and no code in a file is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from export.errors import CheckpointError


def read_tensors(path: Path) -> Any:
    """The tensors of a .safetensors file or of a file in torch's own format. Raises CheckpointError."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path} is not readable as safetensors ({error}); save it again.") from None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError) as error:
        detail = str(error).partition("\n")[0]
        raise CheckpointError(f"{path} is not readable as a state dict ({detail}); save it again.") from None
    except Exception as error:  # weights_only raises pickle.UnpicklingError and others
        raise CheckpointError(
            f"{path} is refused ({type(error).__name__}): only tensors are read from it; save it as .safetensors or "
            "with torch.save(model.state_dict(), ...)."
        ) from None
