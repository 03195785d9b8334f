"""Shows a build's progress: a bar with the remaining time on a terminal, plain lines otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence


class BuildProgress:
    """The progress of ``total`` archives. Call ``stage`` at each stage of an archive, and ``finish`` after it."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._started = total, 0, time.perf_counter()
        self._bar = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit="archive", dynamic_ncols=True)

    def stage(self, name: str, text: str) -> None:
        """Shows that ``name`` has entered the stage ``text``."""
        if self._bar is not None:
            self._bar.set_description_str(f"{name}: {text}")
        else:
            elapsed = time.perf_counter() - self._started
            print(f"[{self._done + 1}/{self._total}] {elapsed:6.1f} s  {name}: {text}", file=sys.stderr, flush=True)

    def finish(self, name: str) -> None:
        """Counts one more finished archive."""
        self._done += 1
        if self._bar is not None:
            self._bar.update()

    def close(self) -> None:
        """Ends the bar's line."""
        if self._bar is not None:
            self._bar.close()


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A plain text table with aligned columns."""
    widths = [max(len(line[i]) for line in [header, *lines]) for i in range(len(header))]
    formatted = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [header, *lines]
    ]
    return "\n".join([formatted[0], "  ".join("-" * width for width in widths), *formatted[1:]])
