"""fp16 on a GPU, replayed from CUDA graphs: one per shape bucket, all captured before the worker reports ready.

A graph holds the copies too: a request writes its batch into pinned memory, replays, waits once and reads pinned
memory. Batches are padded up to their bucket; what is padded is masked or cut off again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from handlers.errors import ArchiveError
from handlers.lean import build
from handlers.runtimes import Runtime
from handlers.runtimes.torch_module import device_of

WARM_UP_RUNS = 6  # cuDNN and cuBLAS choose algorithms and workspaces in the first ones, which a capture may not


@dataclass(frozen=True)
class Captured:
    """A graph with the pinned arrays that it reads and writes (numpy views of them)."""

    graph: torch.cuda.CUDAGraph
    inputs: tuple[np.ndarray, ...]
    output: np.ndarray
    kept: tuple[Any, ...]  # tensors that must outlive the graph


class GraphRuntime:
    """Pads a batch to the next bucket and replays that bucket's graph. Larger batches go in pieces."""

    def __init__(self, module: torch.nn.Module, device: torch.device, settings: dict[str, Any]) -> None:
        self._module, self._device = module, device
        self._task = settings["task"]
        self._batches: list[int] = settings["buckets"]["batches"]
        self._lengths: list[int] = settings["buckets"].get("lengths", [])
        self._side = settings["input"].get("side", 0)
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)
        with torch.inference_mode(), torch.cuda.device(device):
            # Largest first: the pool then has its blocks, and the smaller graphs fit into them.
            self._captured = {shape: self._capture(*shape) for shape in sorted(self._shapes(), reverse=True)}

    def _shapes(self) -> Iterator[tuple[int, int, bool]]:
        """(batch, length, masked) of every bucket; images have length 0 and no mask."""
        for batch in self._batches:
            if not self._lengths:
                yield batch, 0, False
            for length in self._lengths:
                yield batch, length, True
                yield batch, length, False

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        step = self._batches[-1]
        pieces = [self._run([array[at : at + step] for array in inputs]) for at in range(0, len(inputs[0]), step)]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _run(self, inputs: list[np.ndarray]) -> np.ndarray:
        count = len(inputs[0])
        batch = next(each for each in self._batches if each >= count)
        if self._lengths:
            captured = self._write_text(inputs, count, batch)
        else:
            captured = self._captured[batch, 0, False]
            captured.inputs[0][:count] = inputs[0]
        with torch.cuda.stream(self._stream):
            captured.graph.replay()
        self._stream.synchronize()
        return captured.output[:count].copy()

    def _write_text(self, inputs: list[np.ndarray], count: int, batch: int) -> Captured:
        ids, mask = inputs[0], inputs[1]
        length = next(each for each in self._lengths if each >= ids.shape[1])
        padded = length != ids.shape[1] or not mask.all()
        captured = self._captured[batch, length, padded]
        captured.inputs[0][:count, : ids.shape[1]] = ids
        if padded:
            whole = captured.inputs[1]
            whole[:] = 0
            whole[:, 0] = 1  # a row without any token would be a softmax over nothing
            whole[:count, : ids.shape[1]] = mask
        if len(inputs) > 2:
            captured.inputs[-1][:count] = inputs[2]
        return captured

    def _capture(self, batch: int, length: int, masked: bool) -> Captured:
        hosts = [torch.zeros(shape, dtype=dtype).pin_memory() for shape, dtype in self._inputs(batch, length, masked)]
        devices = [host.to(self._device) for host in hosts]
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UP_RUNS):
                result = self._forward(devices, masked)
        self._stream.synchronize()
        output = torch.zeros(result.shape, dtype=torch.float32).pin_memory()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            for host, device in zip(hosts, devices, strict=True):
                device.copy_(host, non_blocking=True)
            output.copy_(self._forward(devices, masked).float(), non_blocking=True)
        return Captured(graph, tuple(host.numpy() for host in hosts), output.numpy(), (hosts, devices, output))

    def _inputs(self, batch: int, length: int, masked: bool) -> list[tuple[tuple[int, ...], torch.dtype]]:
        if not length:
            return [((batch, self._side, self._side, 3), torch.uint8)]
        ids = ((batch, length), torch.int64)
        shapes = [ids, ids] if masked else [ids]
        return [*shapes, ((batch,), torch.int64)] if self._task == "fill-mask" else shapes

    def _forward(self, inputs: list[torch.Tensor], masked: bool) -> torch.Tensor:
        if not self._lengths:
            return self._module(inputs[0])
        mask = inputs[1] if masked else None
        return self._module(inputs[0], mask, *inputs[2 if masked else 1 :])


def load_graph(directory: Path, settings: dict[str, Any], gpu_id: int | None) -> Runtime:
    """Builds the lean model from its spec and weights, and captures every bucket."""
    device = device_of(settings, gpu_id)
    if device.type != "cuda":
        raise ArchiveError(f"{settings['variant']!r} replays CUDA graphs and needs a GPU; choose a CPU variant.")
    torch.backends.cudnn.benchmark = True  # shapes are fixed by the buckets, so the search pays once, at load
    module = build(settings["task"], settings["lean"])
    module.load_state_dict(load_file(directory / "model.safetensors"))
    module = module.to(device, torch.float16).to(memory_format=torch.channels_last)
    return GraphRuntime(module, device, settings)
