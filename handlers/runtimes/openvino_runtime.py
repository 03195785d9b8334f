"""OpenVINO on the CPU, in fp32, tuned for the latency of single requests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from handlers.runtimes import Outputs, Runtime, threads
from handlers.settings import Settings


def load_openvino(directory: Path, settings: Settings, gpu_id: int | None) -> Runtime:
    """Loads model.xml and compiles it for this CPU and this worker's number of threads."""
    import openvino

    hints = {
        "INFERENCE_NUM_THREADS": threads(settings),
        "PERFORMANCE_HINT": "LATENCY",
        # By default OpenVINO uses bf16 or fp16 on CPUs that have it, and parity would depend on the machine.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = openvino.Core().compile_model(directory / "model.xml", "CPU", hints).create_infer_request()

    names = [each.name for each in settings.outputs]

    def call(*inputs: np.ndarray) -> Outputs:
        results = request.infer(list(inputs))
        return {name: results[index] for index, name in enumerate(names)}

    return call
