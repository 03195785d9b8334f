"""``python -m loadtest.comparisons.agreement``: measures the same server with our generator and with independent tools.

Compares the closed loop with wrk, and the open loop with h2load (constant rate), within the same minute. Debian has
both tools (wrk, nghttp2-client). Sends one body to one archive ($MODELS, $VARIANTS and $DEVICE, default null), with
each of $CONCURRENCY (1,8) and $RATE (25,100), in the order ours, theirs, theirs, ours. Exit status 1 if a p50 differs
by more than 10 % and 0.2 ms. Knows how to run these tools and read their output, and nothing of reports.
"""

from __future__ import annotations

import loadtest.patches  # noqa: F401 - first of all: it patches what the modules below import

# isort: split
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.catalog import CatalogError
from loadtest.comparisons.probe import Quantiles, Subject, mean, numbers, one_archive, ours, quantiles, seconds_each
from loadtest.errors import LoadTestError
from loadtest.load import arrivals
from loadtest.load.target import Target
from loadtest.report import markdown_report
from serving.errors import ServingError

WITHIN, WITHIN_MS = 0.10, 0.2
HEADER = (
    "load", "tool", "p50 ours, ms", "p50 theirs", "p99 ours", "p99 theirs", "requests/s ours", "theirs", "our CPU",
    "p50 agrees",
)  # fmt: skip
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True)
class Pair:
    """One load, measured by both tools."""

    load: str
    tool: str
    ours: Quantiles
    theirs: Quantiles

    @property
    def agrees(self) -> bool:
        """Whether the medians lie within 10 % or 0.2 ms."""
        difference = abs(self.ours.p50 - self.theirs.p50)
        return difference <= max(WITHIN * self.theirs.p50, WITHIN_MS)


def wrk(target: Target, users: int, seconds: float, folder: Path) -> Quantiles:
    """wrk's own percentiles. A script sets headers and body, since wrk has no options for them."""
    payload = target.payloads[0]
    body, script = folder / "body", folder / "request.lua"
    body.write_bytes(payload.body)
    headers = "".join(f'wrk.headers["{name}"]="{value}"\n' for name, value in target.headers(payload).items())
    script.write_text(f'wrk.method="POST"\nwrk.body=io.open("{body}", "rb"):read("*a")\n{headers}')
    text = _run(
        ["wrk", "-t1", f"-c{users}", f"-d{seconds:g}s", "--latency", "-s", str(script), target.host + target.path]
    )
    if "Non-2xx" in text:
        raise LoadTestError(f"wrk saw errors: {text.strip().splitlines()[-3].strip()}")
    found = {int(q): float(value) * UNITS[unit] for q, value, unit in re.findall(r"(\d+)%\s+([\d.]+)(us|ms|s)\b", text)}
    return Quantiles(found[50], found[99], float(re.findall(r"Requests/sec:\s+([\d.]+)", text)[0]))


def h2load(target: Target, rate: float, seconds: float, folder: Path) -> Quantiles:
    """Percentiles of h2load's log, which has a line per request, over HTTP/1.1, without the first second."""
    payload = target.payloads[0]
    body, log = folder / "body", folder / "log"
    body.write_bytes(payload.body)
    headers = [f"--header={name}: {value}" for name, value in target.headers(payload).items()]
    log.unlink(missing_ok=True)  # h2load appends to an existing log
    # One client, since several would send at the same instants, in bursts.
    options = ["--h1", "--clients=1", f"--rps={rate:g}", f"--duration={seconds + 1:g}"]
    _run(["h2load", *options, f"--data={body}", f"--log-file={log}", *headers, target.host + target.path])
    lines = np.loadtxt(log, dtype=np.int64, ndmin=2)
    kept = lines[lines[:, 0] >= lines[:, 0].min() + 1_000_000]
    # h2load reads a status only with a reason phrase, and TorchServe sends none with 200. The log then has 0.
    if not np.isin(kept[:, 1], (0, 200)).all():
        raise LoadTestError("h2load saw errors; see: make logs")
    return quantiles(kept[:, 2] / 1e3, seconds)


def _run(command: Sequence[str]) -> str:
    if shutil.which(command[0]) is None:
        raise LoadTestError(f"{command[0]} is not installed; run: apt-get install wrk nghttp2-client")
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode != 0:
        raise LoadTestError(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[:200]}")
    return done.stdout


def _in_turns(us: Callable[[], Quantiles], them: Callable[[], Quantiles]) -> tuple[Quantiles, Quantiles]:
    """Measures ours, theirs, theirs, ours, and takes the mean of each pair, so that a drift affects both alike."""
    runs = [us(), them(), them(), us()]
    return mean(runs[0], runs[3]), mean(runs[1], runs[2])


def compare(
    subject: Subject, users_of: Sequence[int], rates: Sequence[float], seconds: float, folder: Path
) -> list[Pair]:
    """Compares the closed loop with these numbers of users, and the open loop at these rates."""
    closed = [_closed(subject, users, seconds, folder) for users in users_of]
    return closed + [_open(subject, rate, seconds, folder) for rate in rates]


def _closed(subject: Subject, users: int, seconds: float, folder: Path) -> Pair:
    target, crew = subject.target, subject.crew
    both = _in_turns(
        lambda: ours(crew.closed(target, users), seconds), lambda: wrk(target, users, seconds, folder)
    )
    return Pair(f"closed, {users} at a time", "wrk", *both)


def _open(subject: Subject, rate: float, seconds: float, folder: Path) -> Pair:
    target, crew, schedule = subject.target, subject.crew, arrivals.constant(rate, 3 * seconds)
    both = _in_turns(
        lambda: ours(crew.open(target, schedule), seconds, schedule), lambda: h2load(target, rate, seconds, folder)
    )
    return Pair(f"open, {rate:g}/s constant", "h2load", *both)


def table(pairs: Sequence[Pair]) -> str:
    """The result in Markdown."""
    lines = []
    for pair in pairs:
        cells = [getattr(side, name) for name in ("p50", "p99", "requests_per_s") for side in (pair.ours, pair.theirs)]
        shown = [*(f"{cell:.2f}" for cell in cells), f"{pair.ours.client_cpu:.0%}", "yes" if pair.agrees else "no"]
        lines.append([pair.load, pair.tool, *shown])
    return markdown_report.table(HEADER, lines, range(2, 9))


def main() -> int:
    """Prints the table. Returns 1 if a median disagrees, 2 if nothing could be compared."""
    try:
        users, rates = numbers("CONCURRENCY", "1,8", int), numbers("RATE", "25,100", float)
        with one_archive(users, rates) as subject, tempfile.TemporaryDirectory() as folder:
            subject.target.payloads = subject.target.payloads[:1]
            pairs = compare(subject, users, rates, seconds_each(), Path(folder))
    except (LoadTestError, CatalogError, ServingError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{subject.said}\n\n{table(pairs)}")
    return 0 if all(pair.agrees for pair in pairs) else 1


if __name__ == "__main__":
    sys.exit(main())
