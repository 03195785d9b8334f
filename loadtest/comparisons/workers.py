"""``python -m loadtest.comparisons.workers``: measures one archive with several numbers of workers, on one server.

Takes the numbers $WORKERS (1,2) in turns, each with $CONCURRENCY (1,64) users in a closed loop for $DURATION seconds.
$MODELS, $VARIANTS and $DEVICE name the archive.
"""

from __future__ import annotations

import loadtest.patches  # noqa: F401 - first of all: it patches what the modules below import

# isort: split
import os
import sys

from export.catalog import CatalogError
from loadtest.comparisons.probe import Quantiles, mean, numbers, one_archive, ours, seconds_each
from loadtest.errors import LoadTestError
from loadtest.report.markdown_report import table
from serving.errors import ServingError

HEADER = ("workers", "users", "p50, ms", "p99, ms", "requests/s", "our CPU", "server's RSS, MiB")


def main() -> int:
    """Prints a table. Returns 2 if nothing could be measured."""
    try:
        counts, users = numbers("WORKERS", "1,2", int), numbers("CONCURRENCY", "1,64", int)
        seen: dict[tuple[int, int], list[Quantiles]] = {(count, each): [] for count in counts for each in users}
        memory = {}
        if os.environ.get("HOST"):
            raise LoadTestError("HOST names another server, whose workers this command does not change; unset it.")
        with one_archive(users) as subject:
            server, target = subject.server, subject.target
            for count in [*counts, *reversed(counts)]:
                assert server.client is not None  # a server of our own, so there is a client of its management
                server.client.scale(target.archive, count)
                memory[count] = server.rss()
                for each in users:
                    print(f"{count} workers, {each} users", file=sys.stderr, flush=True)
                    seen[count, each].append(ours(subject.crew.closed(target, each), seconds_each()))
    except (LoadTestError, CatalogError, ServingError) as error:
        print(error, file=sys.stderr)
        return 2
    lines = []
    for (count, each), both in seen.items():
        found = mean(*both)
        cells = f"{found.p50:.2f}", f"{found.p99:.2f}", f"{found.requests_per_s:.0f}", f"{found.client_cpu:.0%}"
        lines.append([str(count), str(each), *cells, f"{memory[count] / 2**20:.0f}"])
    print(subject.said, table(HEADER, lines, range(len(HEADER))), sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
