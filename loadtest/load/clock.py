"""Sleeps until an instant, more exactly than an event loop does.

Knows Linux's timerfd and gevent, and nothing of the load. libev passes whole milliseconds to epoll, so a greenlet
sleeps up to a millisecond too long. A fast server takes less than that. A timer's file descriptor wakes the loop on
time.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time

import gevent
from gevent import get_hub

_CLOCK_MONOTONIC, _NONBLOCK, _CLOEXEC = 1, 0o4000, 0o2000000


class _Timespec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class _Timer(ctypes.Structure):
    _fields_ = [("interval", _Timespec), ("value", _Timespec)]


class Clock:
    """``sleep`` for one greenlet at a time. On other systems than Linux, gevent's own sleep is used."""

    def __init__(self) -> None:
        self._file = -1
        if sys.platform == "linux":
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._file = self._libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK | _CLOEXEC)

    def sleep(self, seconds: float) -> None:
        """Lets the other greenlets run for ``seconds``."""
        if self._file < 0:
            gevent.sleep(max(0.0, seconds))
            return
        if seconds <= 0:
            gevent.sleep(0)
            return
        whole, rest = divmod(round(seconds * 1e9), 1_000_000_000)
        timer = _Timer(_Timespec(0, 0), _Timespec(whole, rest))
        self._libc.timerfd_settime(self._file, 0, ctypes.byref(timer), None)
        hub = get_hub()
        hub.wait(hub.loop.io(self._file, 1))
        os.read(self._file, 8)

    def sleep_until(self, instant_us: int) -> None:
        """Sleeps until the wall clock shows ``instant_us`` (microseconds since 1970)."""
        self.sleep(instant_us / 1e6 - time.time())

    def close(self) -> None:
        """Closes the timer's file descriptor."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
