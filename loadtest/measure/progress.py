"""Prints what is being measured: a bar with the time left on a terminal, plain lines elsewhere. Knows no
measurement."""

from __future__ import annotations

import sys
import time
from typing import Any


class StepProgress:
    """``total`` steps of about the same length. Call ``step`` when each one begins. There may be more steps in the
    end."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._began = total, 0, time.monotonic()
        self._bar: Any = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit="step", dynamic_ncols=True)

    def step(self, text: str) -> None:
        """Ends the previous step and begins the one named ``text``."""
        if self._bar is not None:
            self._bar.update(self._done - self._bar.n)
            self._bar.set_description_str(text)
        else:
            self._print(text)
        self._done += 1

    def close(self) -> None:
        """Ends the last step."""
        if self._bar is not None:
            self._bar.close()

    def _print(self, text: str) -> None:
        spent, total = time.monotonic() - self._began, max(self._total, self._done + 1)
        left = f", about {spent / self._done * (total - self._done):.0f} s left" if self._done else ""
        print(f"[{self._done + 1}/{total}] {spent:6.1f} s{left}  {text}", file=sys.stderr, flush=True)
