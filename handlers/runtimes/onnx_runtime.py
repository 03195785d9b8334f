"""ONNX Runtime on the CPU: fp32, the whole graph optimized at load."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from handlers.runtimes import Outputs, Runtime, threads
from handlers.settings import Settings


def load_onnx(directory: Path, settings: Settings, gpu_id: int | None) -> Runtime:
    """model.onnx in a session of this worker's threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads(settings)
    # Waiting threads sleep: spinning ones take the cores from the server and from other workers.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(directory / "model.onnx", options, providers=["CPUExecutionProvider"])
    inputs_named = [node.name for node in session.get_inputs()]
    names = [each.name for each in settings.outputs]

    def call(*inputs: np.ndarray) -> Outputs:
        results = session.run(None, dict(zip(inputs_named, inputs, strict=True)))
        return dict(zip(names, results, strict=True))

    return call
