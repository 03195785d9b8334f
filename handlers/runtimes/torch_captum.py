"""The eager model with its gradients: answers as the runtime ``eager`` does, and attributes with Captum's integrated
gradients.

Of texts the gradients are those of the token embeddings: a hook gives the network points between the baseline's
embeddings and the text's in place of its own, so that positions, token types and masks stay those of the text for every
family. Of images they are those of the pixels.
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
from handlers.explanations import Attributed, Path, Target
from handlers.runtimes import Outputs
from handlers.runtimes.torch_module import ModuleRuntime, device_of, output_names
from handlers.settings import Settings

Network = Callable[[Tensor], Any]  # points [n, ...] between baseline and row -> the module's outputs


class CaptumRuntime:
    """``names`` are the module's outputs, in order."""

    def __init__(self, module: Any, device: torch.device, names: list[str]) -> None:
        self.module, self._device, self._names = module.requires_grad_(False), device, names
        self._plain = ModuleRuntime(module, device, names)

    def __call__(self, *inputs: Any) -> Outputs:
        """As the runtime ``eager``."""
        return self._plain(*inputs)

    def attributions(self, path: Path, target: Target, check: Callable[[int], Any]) -> Attributed:
        """Raises OutOfMemory, and whatever ``check`` raises."""
        with contextlib.suppress(torch.OutOfMemoryError):
            return self._attributions(path, target, check)
        torch.cuda.empty_cache()  # not while the error is held: its frames keep the tensors
        raise OutOfMemory("The GPU has no memory left for this explanation; send a shorter item, or try again.")

    def _attributions(self, path: Path, target: Target, check: Callable[[int], Any]) -> Attributed:
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
        return Attributed(values.cpu().numpy().astype(np.float32), value, baseline_value, error)

    def _texts(self, inputs: list[Tensor], baseline: Tensor) -> tuple[Tensor, Tensor, Network]:
        """(the row, its baseline, the network), in the space of embeddings, float [1, tokens, width]."""
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
        """The same in the space of pixels, float [1, height, width, 3]."""
        return inputs[0].float(), baseline, self.module

    def _explained(self, network: Network, target: Target, check: Callable[[int], Any]) -> Callable[[Tensor], Tensor]:
        """The explained number at points, float [points]."""

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
    """The checkpoint as its library loads it, fp32."""
    from handlers.architectures import load_eager as load

    device = device_of(settings, gpu_id)
    return CaptumRuntime(load(directory, settings).to(device), device, output_names(settings))
