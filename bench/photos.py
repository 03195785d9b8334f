"""``python -m bench.photos``: times decoding and scaling of photographs, on one core and on the GPU.

It also compares the pixels with those of torchvision's transforms on the full picture. Settings come from the
environment: DEVICE (auto), OUT (a JSON file).
"""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.measure import Call, as_array, interleaved
from export.cases import encode, photographs
from export.catalog import PHOTO
from export.device import DeviceError, resolve_device
from export.progress import table
from handlers.image import decode, photo
from handlers.image_structure import inspect
from loadtest.measure.provenance import machine
from loadtest.stats import percentile

RESIZE, CROP = 232, 224  # of torchvision's ResNet50_Weights.IMAGENET1K_V2
SIZES = ((320, 240), (640, 427), (640, 480), (1280, 960), (4000, 3000))
LIMIT = PHOTO["max_pixels"]
SECONDS = 1.0  # for each method and size
TOGETHER = 8  # the default batch size of TorchServe's workers
HEADER = ("JPEG", "kB", "host ms", "off by", f"GPU ms, 1 of {TOGETHER}", "GPU ms, alone", "off by")
ON_GPU = ("gpu_ms_each_of_a_batch", "gpu_ms", "gpu_off_by")


def main() -> int:
    """Returns the exit status."""
    try:
        device = resolve_device(os.environ.get("DEVICE") or "auto")
    except DeviceError as error:
        print(error, file=sys.stderr)
        return 2
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    picture = Image.open(io.BytesIO(photographs()[0])).convert("RGB")
    rows = [measure(encode(picture.resize(size), "JPEG"), device) for size in SIZES]
    print(table(HEADER, [tuple("-" if value is None else str(value) for value in row.values()) for row in rows]))
    print("On one core. off by: mean difference of the pixels from torchvision's transforms, in grey levels of 255")
    if out := os.environ.get("OUT"):
        Path(out).write_text(json.dumps({"environment": machine(), "rows": rows}, indent=1) + "\n")
    return 0


def measure(data: bytes, device: str) -> dict[str, Any]:
    """One row of results: milliseconds and differences of a JPEG file, on the host and on the GPU. Without a GPU its
    values are None."""
    expected, size = reference(data), Image.open(io.BytesIO(data)).size
    calls: dict[str, Call] = {"host": lambda: on_host(data)}
    if device == "gpu":
        calls |= _on_gpu(data)
    times = interleaved(calls, SECONDS, lambda text: None)
    took = {name: percentile(as_array(each), 50) for name, each in times.items()}
    row: dict[str, Any] = {"size": "{}x{}".format(*size), "kb": round(len(data) / 1e3)}
    row |= {"host_ms": round(took["host"], 3), "host_off_by": _off_by(on_host(data), expected)}
    if device != "gpu":
        return row | dict.fromkeys(ON_GPU)
    alone: Any = calls["alone"]()
    values = (took["together"] / TOGETHER, took["alone"], _off_by(alone[0].cpu().numpy(), expected))
    return row | {name: round(value, 3) for name, value in zip(ON_GPU, values, strict=True)}


def _on_gpu(data: bytes) -> dict[str, Call]:
    import torch

    from handlers.gpu_photos import GpuPhotos

    photos = GpuPhotos(torch.device("cuda"), RESIZE, CROP, lambda file: on_host(file.data))

    def prepared(count: int) -> Any:
        files = [inspect(data) for _ in range(count)]
        assert all(photos.takes(file) for file in files)
        pixels = photos(files)
        torch.cuda.synchronize()
        return pixels

    return {"together": lambda: prepared(TOGETHER), "alone": lambda: prepared(1)}


def on_host(data: bytes) -> np.ndarray:
    """The file's pixels, decoded and scaled as by the handler."""
    return photo(decode(data, LIMIT, RESIZE), RESIZE, CROP)


def reference(data: bytes) -> np.ndarray:
    """The file's pixels by torchvision's transforms on the full picture, uint8 [CROP, CROP, 3]."""
    from torchvision.transforms import CenterCrop, Resize

    return np.asarray(CenterCrop(CROP)(Resize(RESIZE)(Image.open(io.BytesIO(data)).convert("RGB"))))


def _off_by(pixels: np.ndarray, expected: np.ndarray) -> float:
    return round(float(np.abs(pixels.astype(int) - expected).mean()), 2)


if __name__ == "__main__":
    sys.exit(main())
