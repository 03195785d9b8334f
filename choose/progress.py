"""Shows the progress of a search: the trial, the best so far and the time left; a bar on a terminal, plain lines
elsewhere.

Knows how to print, not what is searched.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from tqdm import tqdm


class Progress:
    """``left_s()`` returns how much of ``budget_s`` is left, ``best()`` the best trial in words, or ""."""

    def __init__(self, budget_s: float, left_s: Callable[[], float], best: Callable[[], str] = lambda: "") -> None:
        self._budget_s, self._left_s, self._best = budget_s, left_s, best
        self._began = time.monotonic()
        self._bar: tqdm[NoReturn] | None = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=round(budget_s), bar_format="{bar:12} {desc}", dynamic_ncols=True)

    def say(self, text: str) -> None:
        """Prints what begins now."""
        left = max(0.0, self._left_s())
        # The time comes first, since a terminal cuts off the end of a long line.
        words = "; ".join(part for part in (f"{_time(left)} left", text, self._best()) if part)
        if self._bar is not None:
            self._bar.n = round(self._budget_s - left)
            self._bar.set_description_str(words)
        else:
            print(f"{time.monotonic() - self._began:7.1f} s  {words}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Ends the bar's line."""
        if self._bar is not None:
            self._bar.close()


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
