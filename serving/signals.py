"""SIGTERM and Ctrl-C, which end a start or a foreground server cleanly."""

from __future__ import annotations

import signal

# Signals that came. Python drops an exception that is raised while an object is finalized, so an interrupt that the
# signal handler raises there is lost.
_signalled: list[int] = []


def end_on_signal() -> None:
    """From now on, SIGTERM and Ctrl-C raise KeyboardInterrupt in the main thread."""

    def end(number: int, frame: object) -> None:
        _signalled.append(number)
        # This handler must take no lock: it interrupts the main thread, which may hold it.
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)


def raise_lost_signal() -> None:
    """Raises KeyboardInterrupt if a signal came and its own KeyboardInterrupt was lost."""
    if _signalled:
        raise KeyboardInterrupt


def ignore_signals() -> None:
    """Ignores further signals, so that a second Ctrl-C does not interrupt the clean stop."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
