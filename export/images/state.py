"""Reads an image network's tensors from files that training scripts save, and compares them with the network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from export.errors import CheckpointError
from export.weight_files import read_tensors

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
WRAPPERS = ("state_dict", "model_state_dict", "model")  # keys under which training scripts save a state dict
# The prefixes that DataParallel, torch.compile, Lightning and transformers' timm wrapper add to every name.
PREFIXES = ("module.", "_orig_mod.", "model.", "timm_model.")


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file by name, without the wrappers and prefixes of training scripts.

    Raises CheckpointError if the file is absent, is no state dict, or has more than tensors.
    """
    if not path.is_file():
        raise CheckpointError(f"There is no weights file at {path}; give the path of one that exists.")
    if path.suffix not in SUFFIXES:
        raise CheckpointError(f"{path} is no weights file; expected a name that ends in {', '.join(SUFFIXES)}.")
    return _without_prefixes(_unwrapped(read_tensors(path), path))


def _unwrapped(loaded: Any, path: Path) -> dict[str, Tensor]:
    for name in WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(name), Mapping):
            loaded = loaded[name]
            break
    if not isinstance(loaded, Mapping) or not loaded or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise CheckpointError(
            f"{path} holds no state dict, neither by itself nor under {', '.join(WRAPPERS)}; save it with "
            "torch.save(model.state_dict(), ...)."
        )
    return dict(loaded)


def _without_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in state):
            return _without_prefixes({name.removeprefix(prefix): tensor for name, tensor in state.items()})
    return state


def check_fit(state: Mapping[str, Tensor], network: nn.Module, source: Path, architecture: str) -> None:
    """Raises CheckpointError if names or shapes of ``state`` differ from those of ``network``."""
    expected = network.state_dict()
    lacking, more = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    unlike = [name for name in expected if name in state and state[name].shape != expected[name].shape]
    if lacking:
        reason = f"it lacks {_some(lacking)}"
    elif more:
        reason = f"it also holds {_some(more)}"
    elif unlike:
        name = unlike[0]
        reason = f"{name} is {list(state[name].shape)} and not {list(expected[name].shape)}"
    else:
        return
    raise CheckpointError(f"{source} does not hold the weights of {architecture}: {reason}; name its architecture.")


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
