"""``python -m loadtest.workers``: what more workers of one archive are worth, in turns on one server.

$WORKERS (1,2) forth and back, each with $CONCURRENCY (1,64) users in a closed loop for $DURATION seconds; the archive
by $MODELS, $VARIANTS and $DEVICE.
"""

from __future__ import annotations

import locust  # noqa: F401 - first of all: Locust patches what the modules below import

# isort: split
import os
import sys

from export.catalog import CatalogError
from export.device import DeviceError
from export.progress import table
from loadtest.engine import ClosedLoop
from loadtest.errors import LoadTestError
from loadtest.probe import Quantiles, mean, numbers, one_archive, ours, seconds_each
from serving.errors import ServingError

HEADER = ("workers", "users", "p50 ms", "p99 ms", "requests/s", "client's core", "server's RSS")


def main() -> int:
    """Prints a table; 2 when it could not be measured."""
    try:
        counts, users = numbers("WORKERS", "1,2", int), numbers("CONCURRENCY", "1,64", int)
        seen: dict[tuple[int, int], list[Quantiles]] = {(count, each): [] for count in counts for each in users}
        memory = {}
        if os.environ.get("HOST"):
            raise LoadTestError("HOST names a server of others, whose workers are theirs; unset it.")
        with one_archive() as (server, target, said):
            for count in [*counts, *reversed(counts)]:
                server.client.scale(target.archive, count)  # type: ignore[union-attr]
                memory[count] = server.rss()
                for each in users:
                    print(f"{count} workers, {each} users", file=sys.stderr, flush=True)
                    seen[count, each].append(ours(ClosedLoop(target, each), seconds_each()))
    except (LoadTestError, CatalogError, DeviceError, ServingError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{said}\n{table(HEADER, [_line(*key, mean(*both), memory[key[0]]) for key, both in seen.items()])}")
    return 0


def _line(workers: int, users: int, found: Quantiles, rss: int) -> tuple[str, ...]:
    rate, cpu = f"{found.requests_per_s:.0f}", f"{found.client_cpu:.0%}"
    return (str(workers), str(users), f"{found.p50:.2f}", f"{found.p99:.2f}", rate, cpu, f"{rss / 2**20:.0f} MiB")


if __name__ == "__main__":
    sys.exit(main())
