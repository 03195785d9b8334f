"""Runs the eager model as the runtime ``eager`` does, and computes attributions with Captum's integrated gradients.

For texts, the gradients are with respect to the token embeddings. A hook replaces the network's embeddings by points
between the baseline's and the text's. Positions, token types and masks therefore stay those of the text in every
family. For images, the gradients are with respect to the pixels.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import torch
from captum.attr import IntegratedGradients
from torch import Tensor
from torch.nn import functional as F

from handlers.errors import OutOfMemory
from handlers.explanations import Attributions, Path, Target
from handlers.runtimes import Outputs
from handlers.runtimes.torch_module import ModuleRuntime, device_of, output_names
from handlers.settings import Settings

Network = Callable[[Tensor], Any]  # from points [n, ...] between baseline and row to the module's outputs


class CaptumRuntime:
    """A runtime that is also an Explainer. ``names`` are the names of the module's outputs, in order."""

    def __init__(self, module: Any, device: torch.device, names: list[str]) -> None:
        self.module, self._device, self._names = module.requires_grad_(False), device, names
        self._plain = ModuleRuntime(module, device, names)

    def __call__(self, *inputs: Any) -> Outputs:
        """The outputs of one batch (handlers.runtimes.Runtime)."""
        return self._plain(*inputs)

    def attributions(self, path: Path, target: Target, check: Callable[[int], Any]) -> Attributions:
        """See Explainer. Raises OutOfMemory and the errors of ``check``."""
        with contextlib.suppress(torch.OutOfMemoryError):
            return self._attributions(path, target, check)
        torch.cuda.empty_cache()  # outside the block above, since the error's frames keep the tensors
        raise OutOfMemory("The GPU has no memory left for this explanation; send a shorter item, or try again.")

    def _attributions(self, path: Path, target: Target, check: Callable[[int], Any]) -> Attributions:
        inputs = [torch.as_tensor(each, device=self._device) for each in path.inputs]
        baseline = torch.as_tensor(path.baseline, device=self._device)
        row, start, network = (self._texts if len(inputs) > 1 else self._images)(inputs, baseline)
        explained = self._explained(network, target, check)
        with torch.no_grad():
            value, baseline_value = explained(torch.cat([row, start])).double().tolist()
        found = IntegratedGradients(explained).attribute(
            row, baselines=start, n_steps=path.steps, internal_batch_size=path.together
        )
        values = found[0].detach().double().sum(-1)  # over the embedding's width, or the colours
        error = abs(float(values.sum()) - (value - baseline_value))
        return Attributions(values.cpu().numpy().astype(np.float32), value, baseline_value, error)

    def _texts(self, inputs: list[Tensor], baseline: Tensor) -> tuple[Tensor, Tensor, Network]:
        """(the row, its baseline, the network). Row and baseline are embeddings, float [1, tokens, width]."""
        layer = self.module.network.get_input_embeddings()

        def network(points: Tensor) -> Any:
            repeated = [each.expand(len(points), *each.shape[1:]) for each in inputs]
            hook = layer.register_forward_hook(lambda *_: points)
            try:
                return self.module(*repeated)
            finally:
                hook.remove()

        with torch.no_grad():
            return layer(inputs[0]), layer(baseline.clamp(min=0)) * (baseline >= 0).unsqueeze(-1), network

    def _images(self, inputs: list[Tensor], baseline: Tensor) -> tuple[Tensor, Tensor, Network]:
        """The same for images. Row and baseline are pixels, float [1, height, width, 3]."""
        return inputs[0].float(), baseline, self.module

    def _explained(self, network: Network, target: Target, check: Callable[[int], Any]) -> Callable[[Tensor], Tensor]:
        """A function from points to the explained number at each, float [points]."""

        def explained(points: Tensor) -> Tensor:
            check(len(points))
            results = network(points)
            outputs = dict(zip(self._names, (results,) if isinstance(results, Tensor) else results, strict=True))
            if target.vector is not None:
                vector = torch.as_tensor(target.vector, device=self._device)
                return F.cosine_similarity(outputs["embedding"], vector[None], dim=1)
            return torch.stack([outputs[name][(slice(None), *place)] for name, place in target.entries]).sum(0)

        return explained


def load_explain(directory: FilePath, settings: Settings, gpu_id: int | None) -> CaptumRuntime:
    """Loads the checkpoint as its library does, in fp32."""
    from handlers.architectures import load_eager as load

    device = device_of(settings, gpu_id)
    return CaptumRuntime(load(directory, settings).to(device), device, output_names(settings))
