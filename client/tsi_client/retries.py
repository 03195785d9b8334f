"""How long to wait before a request is sent again."""

from __future__ import annotations

import random
import time
from email.utils import parsedate_to_datetime

FIRST_RECONNECT_S = 0.1


def backoff(refused: int, retry_after: str | None) -> float:
    """Seconds to wait after a 503 that follows ``refused`` other 503s. The base is Retry-After, but at least 1. It
    doubles with each earlier 503. A random part of up to half is added, since other clients were refused at the same
    time."""
    told = seconds_told(retry_after)
    return max(1.0 if told is None else told, 1.0) * 2.0**refused * random.uniform(1, 1.5)


def reconnect(failed: int) -> float:
    """Seconds to wait after a failed connection that follows ``failed`` other failures."""
    return FIRST_RECONNECT_S * 4.0**failed * random.uniform(1, 1.5)


def seconds_told(retry_after: str | None) -> float | None:
    """The seconds that a Retry-After asks for, as a number or a date; None for any other text."""
    if not retry_after:
        return None
    if retry_after.isascii() and retry_after.isdecimal():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None
