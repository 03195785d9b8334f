"""Runs a model in fp16 or fp8 by replaying CUDA graphs: one per shape bucket, captured before the worker is ready.

A call writes its batch into pinned memory, replays a graph, waits once and reads the outputs from pinned memory. The
graph's kernels read and write pinned memory themselves. Images that were decoded on the GPU are not copied to the host.
Logits that the GPU ranks stay on the GPU: only their likeliest classes are copied, and the logits if they are read.
Batches are padded to the bucket's size. Padding is masked and cut off from the outputs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from handlers.errors import ArchiveError
from handlers.lean import build
from handlers.lean.fp8 import CAPABILITY, without_fp8
from handlers.runtimes import Outputs, Runtime
from handlers.runtimes.torch_module import device_of
from handlers.scores import BEST, FEW
from handlers.settings import Settings, TensorSpec

WARM_UP_RUNS = 2  # kernels are compiled, and algorithms and workspaces chosen, in the first; a capture may not do that
# Arrays of at least so many bytes are copied by torch in parallel: on 16 cores, NumPy's copy was faster for 150 kB and
# slower for 4.8 MB.
LARGE = 1 << 20
MASK = "attention_mask"


@dataclass(frozen=True)
class Captured:
    """A graph with the tensors that it reads and writes, by name.

    ``arrays`` and ``outputs`` are NumPy views of the inputs and outputs in pinned memory. ``on_gpu`` has the other
    outputs.
    """

    graph: torch.cuda.CUDAGraph
    inputs: dict[str, torch.Tensor]
    arrays: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    on_gpu: dict[str, torch.Tensor]


class OutputsOnDemand(Mapping[str, np.ndarray]):
    """Outputs by name, those on the GPU first. An output on the GPU is copied to the host when it is first read. It has
    to be read before the next replay."""

    def __init__(self, on_gpu: Mapping[str, torch.Tensor], on_host: Mapping[str, np.ndarray]) -> None:
        self._on_gpu, self._on_host = on_gpu, dict(on_host)
        self._names = tuple(dict.fromkeys((*on_gpu, *on_host)))

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._on_host:
            self._on_host[name] = self._on_gpu[name].cpu().numpy()
        return self._on_host[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names  # the inherited method would read the output

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


# (batch, length, flag). For texts, the flag says that some are padded. For images, the length is 0, and the flag says
# that they are in the GPU's memory.
Shape = tuple[int, int, bool]


class GraphRuntime:
    """Pads a batch to the next larger bucket and replays its graph. A batch above the largest bucket is split.

    For tasks that rank classes, the outputs also have the likeliest classes (handlers.scores.BEST), and the logits stay
    on the GPU until they are read.
    """

    def __init__(self, module: torch.nn.Module, device: torch.device, settings: Settings) -> None:
        self._module, self._device = module, device
        self._inputs, self._outputs = settings.inputs, settings.outputs
        self._names = tuple(each.name for each in settings.inputs)
        self._per_token = {each.name for each in settings.outputs if each.per_token}
        self._batches: list[int] = settings.buckets["batches"]
        self._lengths: list[int] = settings.buckets.get("lengths", [])
        self._on_gpu = settings.decode_on_gpu
        self._ranks = settings.head.get("kind") in ("mask", "image") and not settings.head.get("features")
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.default_stream(device)  # replays use it, which saves a change of stream per request
        with torch.inference_mode(), torch.cuda.device(device):
            # The largest graph is captured first, so that the smaller ones reuse its memory blocks.
            self._captured = {shape: self._capture(*shape) for shape in sorted(self._shapes(), reverse=True)}

    def _shapes(self) -> Iterator[Shape]:
        for batch in self._batches:
            for length in self._lengths or [0]:
                yield batch, length, False
                if length or self._on_gpu:
                    yield batch, length, True

    def __call__(self, *inputs: np.ndarray | torch.Tensor) -> Outputs:
        """The outputs of a batch (handlers.runtimes.Runtime)."""
        step = self._batches[-1]
        if len(inputs[0]) <= step:
            return self._run(inputs)
        pieces = ([array[at : at + step] for array in inputs] for at in range(0, len(inputs[0]), step))
        done = [{name: array.copy() for name, array in self._run(piece).items()} for piece in pieces]
        return {name: np.concatenate([each[name] for each in done]) for name in done[0]}

    def _run(self, inputs: Sequence[Any]) -> Outputs:
        first = inputs[0]
        count = len(first)
        batch = next(each for each in self._batches if each >= count)
        captured = self._write_text(inputs, count, batch) if self._lengths else self._write_image(first, batch)
        captured.graph.replay()
        self._stream.synchronize()
        if captured.on_gpu:
            on_gpu, on_host = captured.on_gpu.items(), captured.outputs.items()
            return OutputsOnDemand(
                {name: tensor[:count] for name, tensor in on_gpu}, {name: array[:count] for name, array in on_host}
            )
        if not self._per_token:
            return {name: array[:count] for name, array in captured.outputs.items()}
        length = first.shape[1]
        return {
            name: array[:count, :length] if name in self._per_token else array[:count]
            for name, array in captured.outputs.items()
        }

    def _write_image(self, pixels: np.ndarray | torch.Tensor, batch: int) -> Captured:
        captured = self._captured[batch, 0, isinstance(pixels, torch.Tensor)]
        name = self._names[0]
        if isinstance(pixels, torch.Tensor):
            with torch.inference_mode():
                captured.inputs[name][: len(pixels)].copy_(pixels)
        elif pixels.nbytes < LARGE:
            captured.arrays[name][: len(pixels)] = pixels
        else:
            with torch.inference_mode():
                captured.inputs[name][: len(pixels)].copy_(torch.from_numpy(pixels))
        return captured

    def _write_text(self, inputs: Sequence[np.ndarray], count: int, batch: int) -> Captured:
        values = dict(zip(self._names, inputs, strict=True))
        mask = values.pop(MASK)
        width = mask.shape[1]
        length = next(each for each in self._lengths if each >= width)
        padded = length != width or not mask.all()
        captured = self._captured[batch, length, padded]
        for name, array in values.items():
            target = captured.arrays[name]
            if array.ndim == 2:
                target[:count, :width] = array
            else:
                target[:count] = array
        if padded:
            whole = captured.arrays[MASK]
            whole[:] = 0
            whole[:, 0] = 1  # the softmax of a row without any token would be NaN
            whole[:count, :width] = mask
        return captured

    def _capture(self, batch: int, length: int, flag: bool) -> Captured:
        specs = [each for each in self._inputs if each.name != MASK or flag]
        inputs = {spec.name: self._empty(spec, batch, length, on_gpu=flag and not length) for spec in specs}
        outputs = {spec.name: self._empty(spec, batch, length, on_gpu=self._ranks) for spec in self._outputs}
        extra = {}
        if self._ranks:
            shape = batch, min(FEW, int(self._outputs[0].dims[-1]))
            extra["best"] = tuple(torch.zeros(shape, dtype=each).pin_memory() for each in (torch.int32, torch.float32))

        def forward() -> None:
            self._module(**inputs, out=tuple(outputs.values()), **extra)

        side = torch.cuda.Stream(self._device)
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_RUNS):
                forward()
        side.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=side):
            forward()
        found = _on_host(outputs) | _on_host(dict(zip(BEST, extra.get("best", ()), strict=False)))
        on_gpu = {name: tensor for name, tensor in outputs.items() if tensor.is_cuda}
        return Captured(graph, inputs, _on_host(inputs), found, on_gpu)

    def _empty(self, spec: TensorSpec, batch: int, length: int, on_gpu: bool = False) -> torch.Tensor:
        """Zeros of a bucket's shape, in pinned memory or on the GPU."""
        shape, dtype = spec.shape(batch, length), getattr(torch, spec.dtype)
        if on_gpu:
            return torch.zeros(shape, dtype=dtype, device=self._device)
        return torch.zeros(shape, dtype=dtype).pin_memory()


def _on_host(tensors: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """NumPy views of the tensors that are not on the GPU."""
    return {name: tensor.numpy() for name, tensor in tensors.items() if not tensor.is_cuda}


def load_graph(directory: Path, settings: Settings, gpu_id: int | None) -> Runtime:
    """Builds the lean model from its spec and weights, and captures the graphs of all buckets."""
    device = device_of(settings, gpu_id)
    if device.type != "cuda":
        raise ArchiveError(f"{settings.variant!r} replays CUDA graphs and needs a GPU; choose a CPU variant.")
    if settings.lean.get("fp8") and (found := torch.cuda.get_device_capability(device)) < CAPABILITY:
        raise ArchiveError(without_fp8(found))
    module = build(settings.lean)
    module.load_state_dict(load_file(directory / "model.safetensors"))
    module = module.to(device, torch.float16).to(memory_format=torch.channels_last)
    with searching():
        return GraphRuntime(module, device, settings)


@contextlib.contextmanager
def searching() -> Iterator[None]:
    """A context in which cuDNN searches for the fastest algorithm of each shape.

    The buckets fix the shapes, so the search happens once, when the worker loads.
    """
    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
