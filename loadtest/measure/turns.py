"""The order in which things are compared: in turns, there and back. Knows order only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Each = TypeVar("Each")


def interleaved(compared: Sequence[Each], rounds: int) -> list[tuple[int, Each]]:
    """(round, archive, or whatever is compared) in the order A B, B A, A B, ...: a machine that drifts does so for all
    of them alike."""
    return [(number, row) for number in range(1, rounds + 1) for row in (compared if number % 2 else compared[::-1])]
