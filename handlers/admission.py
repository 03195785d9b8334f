"""Decides which requests of a batch a worker has time for, and writes the errors of the others."""

from __future__ import annotations

import math
from collections.abc import Sequence

from handlers.budget import Budget
from handlers.errors import Busy, RequestError, TooLarge


def refusals(
    costs: Sequence[int], budget: Budget, unit: str, cure: str = "send several requests"
) -> list[RequestError | None]:
    """For each request of a batch: None if it is run, or the error that answers it.

    A request gets TooLarge if it would take too long even alone, and Busy if only the others leave it no time. The
    cheapest requests are admitted first, so that a large request does not displace small ones.

    ``costs`` are in ``unit`` ("tokens"). ``cure`` is the advice in a TooLarge error.
    """
    found: list[RequestError | None] = [None] * len(costs)
    taken, left = 0.0, min(budget.admitted_s, budget.left_s())
    for at in sorted(range(len(costs)), key=costs.__getitem__):
        seconds = budget.seconds(costs[at])
        if seconds > budget.admitted_s:
            found[at] = _too_large(costs[at], budget, unit, cure)
        elif taken + seconds > left:
            wait = max(1, math.ceil(taken))
            found[at] = Busy(f"The worker is busy with the other requests of its batch; try again in {wait} s.", wait)
        else:
            taken += seconds
    return found


def _too_large(cost: int, budget: Budget, unit: str, cure: str) -> TooLarge:
    most = budget.most()
    budget.forget()
    return TooLarge(
        f"The request has {cost} {unit}; at its present speed this worker accepts {most} in one request (half of its "
        f"response timeout of {budget.timeout_s:g} s): {cure}."
    )
