"""Whether the load generator itself was the bottleneck.

Knows two signs: requests that left later than intended, and a client process that used its whole core.
"""

from __future__ import annotations

from loadtest import stats
from loadtest.load.rows import Columns

LATE_US = 1_000
LATE_SHARE_OF_SERVICE = 0.1  # of the median service time; a longer delay than both distorts a result
MAX_LATE_SHARE = 0.01
MAX_CLIENT_CPU = 0.9  # of one core: the generator runs on one
MAX_SHARED = 0.2  # of the cores that client and server share, since the client takes this time from the server


def late_share(columns: Columns) -> float:
    """Share of the requests that left late, by more than 1 ms and a tenth of the median service time."""
    if not columns.ok.any():
        return 0.0
    limit = max(LATE_US, LATE_SHARE_OF_SERVICE * stats.percentile(columns.service[columns.ok], 50))
    return float((columns.sent - columns.intended > limit).mean())


def saturated(late: float, client_cpu: float, shared_cores: int) -> bool:
    """Whether the client was the bottleneck. ``shared_cores`` is 0 if client and server have separate cores."""
    limit = min(MAX_CLIENT_CPU, MAX_SHARED * shared_cores) if shared_cores else MAX_CLIENT_CPU
    return late > MAX_LATE_SHARE or client_cpu > limit
