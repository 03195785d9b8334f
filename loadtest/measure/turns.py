"""The order of a comparison in turns: A B, B A, ... Knows order only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Each = TypeVar("Each")


def interleaved(compared: Sequence[Each], rounds: int) -> list[tuple[int, Each]]:
    """(round, item) in the order A B, B A, A B, ..., so that a drift of the machine affects all items alike."""
    return [(number, row) for number in range(1, rounds + 1) for row in (compared if number % 2 else compared[::-1])]
