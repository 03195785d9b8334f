"""How long to wait before a request is sent again."""

from __future__ import annotations

import random
import time
from email.utils import parsedate_to_datetime

FIRST_RECONNECT_S = 0.1


def backoff(refused: int, retry_after: str | None) -> float:
    """Seconds to wait after a 503, where ``refused`` others came right before it: what its Retry-After says, 1 where it
    says nothing, doubled for each of those, and up to half as much more, since others were refused at the same time."""
    told = seconds_told(retry_after)
    return max(1.0 if told is None else told, 1.0) * 2.0**refused * random.uniform(1, 1.5)


def reconnect(failed: int) -> float:
    """Seconds to wait after a connection failed, where ``failed`` others failed right before it."""
    return FIRST_RECONNECT_S * 4.0**failed * random.uniform(1, 1.5)


def seconds_told(retry_after: str | None) -> float | None:
    """What a Retry-After says, which is seconds or a date; None where it says neither."""
    if not retry_after:
        return None
    if retry_after.isascii() and retry_after.isdecimal():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None
