"""fp16 on a GPU, replayed from CUDA graphs: one per shape bucket, all captured before the worker reports ready.

A request writes its batch into pinned memory, replays, waits once and reads pinned memory; the graph's own kernels
cross the bus. Images that were decoded on the GPU stay there. Batches are padded up to their bucket; what is padded is
masked or cut off again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
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
from handlers.scores import TILE, best_by_tiles

WARM_UP_RUNS = 6  # cuDNN and cuBLAS choose algorithms and workspaces in the first ones, which a capture may not
# Bytes from which torch's parallel copy is taken: on 16 cores, numpy's is faster for 150 kB and slower for 4.8 MB.
LARGE = 1 << 20


@dataclass(frozen=True)
class Captured:
    """A graph with the tensors that it reads and the pinned one that it writes, of which ``output`` is a numpy view.

    ``arrays`` are numpy views of the inputs that are pinned; ``tiles``, float [tiles, 2, batch], is one of what
    handlers.scores.best_by_tiles wants to know of an output that is long enough for it.
    """

    graph: torch.cuda.CUDAGraph
    inputs: tuple[torch.Tensor, ...]
    arrays: tuple[np.ndarray, ...]
    output: np.ndarray
    tiles: np.ndarray | None


# (batch, length, flag): of texts, whether some are padded; of images, whose length is 0, whether they lie on the GPU
Shape = tuple[int, int, bool]


class GraphRuntime:
    """Pads a batch to the next bucket and replays that bucket's graph. Larger batches go in pieces."""

    def __init__(self, module: torch.nn.Module, device: torch.device, settings: dict[str, Any]) -> None:
        self._module, self._device = module, device
        self._task = settings["task"]
        self._batches: list[int] = settings["buckets"]["batches"]
        self._lengths: list[int] = settings["buckets"].get("lengths", [])
        self._side = settings["input"].get("side", 0)
        self._on_gpu: bool = settings.get("decode_on_gpu", False)
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.default_stream(device)  # where replays go: no stream to enter per request
        with torch.inference_mode(), torch.cuda.device(device):
            # Largest first: the pool then has its blocks, and the smaller graphs fit into them.
            self._captured = {shape: self._capture(*shape) for shape in sorted(self._shapes(), reverse=True)}

    def _shapes(self) -> Iterator[Shape]:
        for batch in self._batches:
            for length in self._lengths or [0]:
                yield batch, length, False
                if length or self._on_gpu:
                    yield batch, length, True

    def __call__(self, *inputs: np.ndarray | torch.Tensor) -> np.ndarray:
        step = self._batches[-1]
        if len(inputs[0]) <= step:
            output, self._tiles = self._run(inputs)
            return output
        pieces = ([array[at : at + step] for array in inputs] for at in range(0, len(inputs[0]), step))
        done = [tuple(None if each is None else each.copy() for each in self._run(piece)) for piece in pieces]
        outputs, tiles = zip(*done, strict=True)
        self._tiles = None if tiles[0] is None else np.concatenate(tiles, axis=2)
        return np.concatenate(outputs)

    def best(self, outputs: np.ndarray, count: int) -> list[list[tuple[int, float]]]:
        """See Runtime.best; for fill-mask, whose graphs tell of tiles."""
        tiles = np.ascontiguousarray(self._tiles.T)
        return [best_by_tiles(row, tops, sums, count) for row, (tops, sums) in zip(outputs, tiles, strict=True)]

    def _run(self, inputs: Sequence[Any]) -> tuple[np.ndarray, np.ndarray | None]:
        count = len(inputs[0])
        batch = next(each for each in self._batches if each >= count)
        captured = self._write_text(inputs, count, batch) if self._lengths else self._write_image(inputs[0], batch)
        captured.graph.replay()
        self._stream.synchronize()
        return captured.output[:count], None if captured.tiles is None else captured.tiles[:, :, :count]

    def _write_image(self, pixels: np.ndarray | torch.Tensor, batch: int) -> Captured:
        captured = self._captured[batch, 0, isinstance(pixels, torch.Tensor)]
        if isinstance(pixels, torch.Tensor):
            with torch.inference_mode():
                captured.inputs[0][: len(pixels)].copy_(pixels)
        elif pixels.nbytes < LARGE:
            captured.arrays[0][: len(pixels)] = pixels
        else:
            with torch.inference_mode():
                captured.inputs[0][: len(pixels)].copy_(torch.from_numpy(pixels))
        return captured

    def _write_text(self, inputs: Sequence[np.ndarray], count: int, batch: int) -> Captured:
        ids, mask = inputs[0], inputs[1]
        length = next(each for each in self._lengths if each >= ids.shape[1])
        padded = length != ids.shape[1] or not mask.all()
        captured = self._captured[batch, length, padded]
        captured.arrays[0][:count, : ids.shape[1]] = ids
        if padded:
            whole = captured.arrays[1]
            whole[:] = 0
            whole[:, 0] = 1  # a row without any token would be a softmax over nothing
            whole[:count, : ids.shape[1]] = mask
        if len(inputs) > 2:
            captured.arrays[-1][:count] = inputs[2]
        return captured

    def _capture(self, batch: int, length: int, flag: bool) -> Captured:
        inputs = [self._input(shape, flag and not length) for shape in self._inputs(batch, length, flag)]
        output, tiles = torch.zeros(batch, self._module.outputs).pin_memory(), None
        if self._task == "fill-mask":
            tiles = torch.zeros(-(-self._module.outputs // TILE), 2, batch).pin_memory()
        side = torch.cuda.Stream(self._device)
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_RUNS):
                self._forward(inputs, flag, output, tiles)
        side.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=side):
            self._forward(inputs, flag, output, tiles)
        arrays = tuple(each.numpy() for each in inputs if not each.is_cuda)
        return Captured(graph, tuple(inputs), arrays, output.numpy(), None if tiles is None else tiles.numpy())

    def _inputs(self, batch: int, length: int, masked: bool) -> list[tuple[int, ...]]:
        """The shapes of the inputs."""
        if not length:
            return [(batch, self._side, self._side, 3)]
        shapes: list[tuple[int, ...]] = [(batch, length)] * (2 if masked else 1)
        return [*shapes, (batch,)] if self._task == "fill-mask" else shapes

    def _input(self, shape: tuple[int, ...], on_gpu: bool) -> torch.Tensor:
        if on_gpu:
            return torch.zeros(shape, dtype=torch.uint8, device=self._device)
        return torch.zeros(shape, dtype=torch.int64 if self._lengths else torch.uint8).pin_memory()

    def _forward(
        self, inputs: list[torch.Tensor], flag: bool, output: torch.Tensor, tiles: torch.Tensor | None
    ) -> None:
        if not self._lengths:
            self._module(inputs[0], out=output)
            return
        ids, mask, rest = inputs[0], inputs[1] if flag else None, inputs[2 if flag else 1 :]
        self._module(ids, mask, *rest, out=output, **({} if tiles is None else {"tiles": tiles}))


def load_graph(directory: Path, settings: dict[str, Any], gpu_id: int | None) -> Runtime:
    """Builds the lean model from its spec and weights, and captures every bucket."""
    device = device_of(settings, gpu_id)
    if device.type != "cuda":
        raise ArchiveError(f"{settings['variant']!r} replays CUDA graphs and needs a GPU; choose a CPU variant.")
    module = build(settings["task"], settings["lean"])
    module.load_state_dict(load_file(directory / "model.safetensors"))
    module = module.to(device, torch.float16).to(memory_format=torch.channels_last)
    with _searching():
        return GraphRuntime(module, device, settings)


@contextlib.contextmanager
def _searching() -> Iterator[None]:
    """cuDNN searches for its fastest algorithm of each shape: the buckets fix them, so that it pays once, at load."""
    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
