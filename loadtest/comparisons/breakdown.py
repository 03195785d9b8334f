"""``python -m loadtest.comparisons.breakdown``: where a request's time goes, under each number of clients.

For each of $CONCURRENCY (1,8,64,256) clients in a closed loop for $DURATION seconds: latency, the server's stages, and
the processor time that each process spends for one answer. With $FLAMES, a folder, py-spy samples the worker meanwhile
and writes a flame graph there for each load. The archive by $MODELS, $VARIANTS and $DEVICE; over HTTP or, with
PROTOCOL=grpc, over TorchServe's own gRPC.
"""

from __future__ import annotations

import loadtest.patches  # noqa: F401 - first of all: it patches what the modules below import

# isort: split
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import gevent
import numpy as np

from export.catalog import CatalogError
from loadtest import stats
from loadtest.comparisons.probe import Subject, numbers, one_archive, seconds_each
from loadtest.comparisons.processor_time import KINDS, Spent
from loadtest.errors import LoadTestError
from loadtest.load.rows import OVERLOAD, Columns
from loadtest.measure.servers import Server
from loadtest.measure.trial import Measured, Rule, measure
from loadtest.report.markdown_report import table
from loadtest.report.numbers import DASH
from serving.errors import ServingError

WARM_UP_WINDOWS = 2
SAMPLES_PER_S = 200  # of a flame graph
NO_PY_SPY = "py-spy is not installed, and FLAMES needs it; run: .venv/bin/pip install py-spy"

HEADER = (
    "clients", "answers/s", "refused/s", "p50, ms", "p99, ms", "preprocess", "inference", "postprocess", "elsewhere",
    "batch",
)  # fmt: skip
NOTE = (
    "Times are milliseconds. The stages are means that the worker states, each for the whole batch. Elsewhere is the "
    "rest of the mean latency: queue, front end, sockets and client."
)
CLIENT = "client"


@dataclass(frozen=True)
class Broken:
    """A load of so many clients: its answers in microseconds, refusals and answers per second, and the processor time
    by kind of thread, in microseconds for one answer."""

    clients: int
    answers: Columns
    answers_per_s: float
    refused_per_s: float
    processor_us: dict[str, float]

    def cells(self) -> list[str]:
        """The cells of the load's row in the first table."""
        service = self.answers.service / 1e3
        parts = [each / 1e3 for each in (self.answers.preprocess, self.answers.inference, self.answers.postprocess)]
        # Over gRPC the stages are unknown, so the whole time counts as elsewhere.
        stages = [0.0 if np.isnan(part).all() else float(np.nanmean(part)) for part in parts]
        batch = self.answers.batch
        return [
            str(self.clients), f"{self.answers_per_s:,.0f}", f"{self.refused_per_s:,.0f}",
            f"{stats.percentile(service, 50):.2f}", f"{stats.percentile(service, 99):.2f}",
            *(f"{stage:.2f}" for stage in stages), f"{float(service.mean()) - sum(stages):.2f}",
            DASH if np.isnan(batch).all() else f"{float(np.nanmean(batch)):.1f}",
        ]  # fmt: skip


def main() -> int:
    """Prints the tables. Returns 2 if nothing could be measured."""
    try:
        clients, seconds = numbers("CONCURRENCY", "1,8,64,256", int), seconds_each()
        flames = Path(os.environ["FLAMES"]) if os.environ.get("FLAMES") else None
        if flames:
            py_spy()  # checked before the measurement, which takes minutes
        if os.environ.get("HOST"):
            raise LoadTestError("HOST names another server, whose processes cannot be read; unset it.")
        with one_archive(clients) as subject:
            said = f"{subject.said}; {parity(subject)}"
            found = [broken(subject, each, seconds, flames) for each in clients]
    except (LoadTestError, CatalogError, ServingError) as error:
        print(error, file=sys.stderr)
        return 2
    stages = table(HEADER, [each.cells() for each in found], range(len(HEADER)))
    print(said, stages, NOTE, processor_table(found), sep="\n\n")
    return 0


def parity(subject: Subject) -> str:
    """The parity that the archive states, in words."""
    assert subject.server.client is not None  # a server of our own
    described = subject.server.client.describe(subject.target.archive)
    found = (described.get("customizedMetadata") or {}).get("parity") or {}
    if found.get("cosine") is None:
        return "no model, nothing to compare"
    return f"parity with eager fp32: |Δ| {found['max_abs']:.1e}, cosine {found['cosine']:.6f}"


def processor_table(found: Sequence[Broken]) -> str:
    """The second table: processor time by kind of thread."""
    kinds = [kind for kind in (CLIENT, *KINDS) if any(each.processor_us.get(kind, 0) >= 0.5 for each in found)]
    rows = [[str(each.clients), *(f"{each.processor_us.get(kind, 0):.0f}" for kind in kinds)] for each in found]
    shown = table(["clients", *kinds], rows, range(len(kinds) + 1))
    return f"Processor time for one answer, microseconds:\n\n{shown}"


def broken(subject: Subject, clients: int, seconds: float, flames: Path | None) -> Broken:
    """Loads the archive and breaks down its times. Raises LoadTestError for a failure other than overload."""
    archive, load = subject.target.archive, partial(subject.crew.closed, subject.target, clients)
    print(f"{archive}, {clients} clients", file=sys.stderr, flush=True)
    before = Spent.of(subject.server)
    seen = measure(load(), Rule(seconds, WARM_UP_WINDOWS, 1, fixed=True))
    spent = Spent.of(subject.server).since(before)
    if flames:  # in a load of its own: sampling slows the worker down
        with recording(subject.server, archive, flames / f"{archive}-{clients}.svg", seconds, seconds):
            measure(load(), Rule(seconds, 1, 1, fixed=True))
    return _broken(clients, seen, spent, seconds)


def _broken(clients: int, seen: Measured, spent: Mapping[str, float], seconds: float) -> Broken:
    if wrong := {row.error for row in seen.rows} - {"", *OVERLOAD}:
        raise LoadTestError(f"Requests failed while measuring ({', '.join(sorted(wrong))}); see: make logs")
    begin = seen.begin_us + seen.warm_up_windows * seen.window_us
    rows = [row for row in seen.rows if begin <= row.ended_us < begin + seen.window_us]
    answers = Columns.of([row for row in rows if not row.error])
    if not answers.ok.size:
        raise LoadTestError(f"No request of {clients} clients was answered; see: make logs")
    rate, everything = answers.ok.size / seconds, sum(not row.error for row in seen.rows)  # spent since the start
    processor = {kind: value * 1e6 / everything for kind, value in spent.items()}
    processor[CLIENT] = seen.client_cpu * 1e6 / rate
    return Broken(clients, answers, rate, len(rows) / seconds - rate, processor)


def py_spy() -> str:
    """The program, beside this Python or on PATH. Raises LoadTestError."""
    found = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if not found:
        raise LoadTestError(NO_PY_SPY)
    return found


@contextmanager
def recording(server: Server, archive: str, svg: Path, after_s: float, seconds: float) -> Iterator[None]:
    """Samples the archive's first worker for ``seconds``, from ``after_s`` on, and writes a flame graph to ``svg``.

    The block ends when the file is written. Raises LoadTestError if py-spy fails.
    """
    assert server.client is not None
    pid = server.client.workers(archive)[0]["pid"]
    svg.parent.mkdir(parents=True, exist_ok=True)
    length = f"{max(1, round(seconds))}"
    command = [py_spy(), "record", "--pid", str(pid), "--duration", length, "--rate", str(SAMPLES_PER_S),
               "--format", "flamegraph", "--output", str(svg)]  # fmt: skip
    sampling = gevent.spawn_later(after_s, subprocess.run, command, capture_output=True, text=True)
    try:
        yield
        done = sampling.get()
    finally:
        sampling.kill()
    if done.returncode or not svg.exists():
        raise LoadTestError(f"py-spy failed: {(done.stderr or done.stdout).strip()[-300:]}")


if __name__ == "__main__":
    sys.exit(main())
