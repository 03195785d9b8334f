"""Runs a batch in several timed forward passes and merges their outputs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from handlers.budget import Budget
from handlers.lanes import Lanes
from handlers.runtimes import Outputs, Runtime


@dataclass(frozen=True)
class Split:
    """The division of a batch into forward passes.

    ``pieces`` has the row numbers of each pass. For texts, ``lengths`` has the number of tokens of each row, int
    [rows], and ``per_token`` names the outputs with a value for each token. ``small`` says that all passes together
    fit into the memory limit of one pass."""

    pieces: Sequence[np.ndarray]
    lengths: np.ndarray | None = None
    per_token: frozenset[str] = frozenset()
    small: bool = False


class Passes:
    """The part of a service that runs its model. Subclasses say what a row costs, in ``unit``, and how a batch is
    split."""

    runtime: Runtime
    lanes: Lanes | None = None
    unit = "items"

    def __init__(self) -> None:
        self.budget = Budget()

    def costs(self, inputs: tuple[Any, ...]) -> np.ndarray:
        """The cost of each row in units, int [rows]."""
        return np.ones(len(inputs[0]), dtype=np.int64)

    def cost(self, inputs: tuple[Any, ...]) -> int:
        """The cost of one forward pass over ``inputs`` in units, padding included."""
        return len(inputs[0])

    def split(self, inputs: tuple[Any, ...]) -> Split:
        """The rows of each forward pass. The memory of a pass is bounded."""
        return Split([np.arange(len(inputs[0]))])

    def forward(self, inputs: tuple[Any, ...]) -> Outputs:
        """The runtime's outputs for a batch's inputs. Raises Busy when the time of the batch is over."""
        split = self.split(inputs)
        if len(split.pieces) == 1:
            return self._pass(*inputs)
        return in_pieces(self._side_by_side if self.lanes and split.small else self._in_turn, inputs, split)

    def _in_turn(self, parts: Iterable[tuple[Any, ...]]) -> Iterator[Outputs]:
        return (self._pass(*part) for part in parts)

    def _side_by_side(self, parts: Iterable[tuple[Any, ...]]) -> list[Outputs]:
        """Runs the passes concurrently. They are not timed: the estimate is for large passes, which cost more per
        unit."""
        assert self.lanes is not None
        passes = list(parts)
        self.budget.check(sum(map(self.cost, passes)))
        return self.lanes.run(passes)

    def _pass(self, *inputs: Any) -> Outputs:
        cost = self.cost(inputs)
        self.budget.check(cost)
        began = time.perf_counter()
        outputs = self.runtime(*inputs)
        self.budget.learn(cost, time.perf_counter() - began)
        return outputs


def pieces(groups: Sequence[np.ndarray], lengths: np.ndarray, most_tokens: int, most_rows: int) -> list[np.ndarray]:
    """The row numbers of ``groups``, cut into pieces of at most ``most_rows`` rows and ``most_tokens`` tokens, padding
    included. A row that is longer is a piece of its own. ``lengths`` has the number of tokens of each row, int
    [rows]."""
    found = []
    for rows in groups:
        size = max(1, min(most_rows, most_tokens // max(1, int(lengths[rows].max()))))
        found += [rows[at : at + size] for at in range(0, len(rows), size)]
    return found


def in_pieces(
    run: Callable[[Iterable[tuple[Any, ...]]], Iterable[Outputs]], inputs: tuple[Any, ...], split: Split
) -> Outputs:
    """The outputs of all rows. ``run`` gets the inputs of each piece, padded to the longest text of that piece, and
    returns the outputs of each piece in the same order."""
    merged: dict[str, np.ndarray] = {}
    parts = (tuple(_part(each, rows, split.lengths) for each in inputs) for rows in split.pieces)
    for rows, part in zip(split.pieces, run(parts), strict=True):
        for name, values in part.items():
            per_token = name in split.per_token
            if name not in merged:
                shape = (*inputs[0].shape, *values.shape[2:]) if per_token else (len(inputs[0]), *values.shape[1:])
                merged[name] = np.zeros(shape, values.dtype)
            if per_token:
                merged[name][rows, : values.shape[1]] = values
            else:
                merged[name][rows] = values
    return merged


def _part(values: Any, rows: np.ndarray, lengths: np.ndarray | None) -> Any:
    return values[rows, : lengths[rows].max()] if lengths is not None and values.ndim == 2 else values[rows]
