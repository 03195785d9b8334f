"""ONNX Runtime on the CPU, in fp32. The graph is optimized at load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from handlers.runtimes import Outputs, Runtime, threads
from handlers.settings import Settings


def load_onnx(directory: Path, settings: Settings, gpu_id: int | None) -> Runtime:
    """Loads model.onnx into a session with this worker's number of threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads(settings)
    # Spinning threads would take the cores from the server and from other workers.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(directory / "model.onnx", options, providers=["CPUExecutionProvider"])
    return OnnxRuntime(session, [each.name for each in settings.outputs])


class OnnxRuntime:
    """A session that several threads may use concurrently (handlers.lanes.Shared). ``names`` are its outputs' names."""

    def __init__(self, session: Any, names: Sequence[str]) -> None:
        self._session, self._names = session, tuple(names)
        self._inputs = [node.name for node in session.get_inputs()]

    def __call__(self, *inputs: np.ndarray) -> Outputs:
        """The outputs by name (handlers.runtimes.Runtime)."""
        results = self._session.run(None, dict(zip(self._inputs, inputs, strict=True)))
        return dict(zip(self._names, results, strict=True))

    def on(self, threads: int, *inputs: np.ndarray) -> Outputs:
        """As ``__call__``. Concurrent calls share the session's threads, so ``threads`` has no effect."""
        return self(*inputs)
