"""The same networks with fewer and larger kernels, for GPUs where a small batch is bound by launches, not by work.

``operators`` has each operation in plain PyTorch, for any device; ``kernels`` has its twin in Triton and cuDNN. A
network takes one or the other by its weights, so that what a GPU serves can be checked against the plain form.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from handlers.lean.bert import LeanBert, lean_bert
from handlers.lean.resnet import LeanResNet, lean_resnet

__all__ = ["LeanBert", "LeanResNet", "build", "lean_bert", "lean_resnet"]


def build(task: str, spec: dict[str, Any]) -> nn.Module:
    """An empty lean model of ``spec``, to load a state dict into."""
    return (LeanResNet(spec) if task == "classification" else LeanBert(task, spec)).eval()
