"""ONNX Runtime on the CPU: fp32, the whole graph optimized at load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from handlers.runtimes import Runtime, threads


def load_onnx(directory: Path, settings: dict[str, Any], gpu_id: int | None) -> Runtime:
    """model.onnx in a session of this worker's threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads(settings)
    # Waiting threads sleep: spinning ones take the cores from the server and from other workers.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(directory / "model.onnx", options, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]

    def call(*inputs: np.ndarray) -> np.ndarray:
        return session.run(None, dict(zip(names, inputs, strict=True)))[0]

    return call
