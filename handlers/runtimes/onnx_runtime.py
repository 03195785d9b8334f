"""ONNX Runtime on the CPU: fp32, the whole graph optimized at load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
    return OnnxRuntime(session, [each.name for each in settings.outputs])


class OnnxRuntime:
    """A session for several threads at once (handlers.lanes.Shared). ``names`` are its outputs', in order."""

    def __init__(self, session: Any, names: Sequence[str]) -> None:
        self._session, self._names = session, tuple(names)
        self._inputs = [node.name for node in session.get_inputs()]

    def __call__(self, *inputs: np.ndarray) -> Outputs:
        """The outputs by name (handlers.runtimes.Runtime)."""
        results = self._session.run(None, dict(zip(self._inputs, inputs, strict=True)))
        return dict(zip(self._names, results, strict=True))

    def on(self, threads: int, *inputs: np.ndarray) -> Outputs:
        """As a call: all calls under way share the session's threads."""
        return self(*inputs)
