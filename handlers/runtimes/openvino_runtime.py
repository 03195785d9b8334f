"""OpenVINO on the CPU: fp32 kept fp32, tuned for one request at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from handlers.runtimes import Outputs, Runtime, threads
from handlers.settings import Settings


def load_openvino(directory: Path, settings: Settings, gpu_id: int | None) -> Runtime:
    """model.xml, compiled for this CPU with this worker's threads."""
    import openvino

    hints = {
        "INFERENCE_NUM_THREADS": threads(settings),
        "PERFORMANCE_HINT": "LATENCY",
        # OpenVINO would otherwise take bf16 or fp16 where the CPU has it, and parity would move with the machine.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = openvino.Core().compile_model(directory / "model.xml", "CPU", hints).create_infer_request()

    names = [each.name for each in settings.outputs]

    def call(*inputs: np.ndarray) -> Outputs:
        results = request.infer(list(inputs))
        return {name: results[index] for index, name in enumerate(names)}

    return call
