"""Reads tensors, and nothing but tensors, from weights files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from export.errors import WeightsError


def read_state(path: Path) -> dict[str, Any]:
    """The state dict in a .safetensors file or in torch's own format. Code in the file is never run.

    Raises WeightsError.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, SafetensorError, ValueError, EOFError, KeyError) as error:
        raise WeightsError(
            f"{path} is not a readable state dict ({type(error).__name__}); give a .safetensors file or one that "
            "torch.save(model.state_dict(), ...) wrote."
        ) from None
    except Exception as error:  # pickle.UnpicklingError and kin: weights_only refused what the file holds
        raise WeightsError(
            f"{path} is refused ({type(error).__name__}): only tensors are read from it; save it as .safetensors or "
            "with torch.save(model.state_dict(), ...)."
        ) from None
