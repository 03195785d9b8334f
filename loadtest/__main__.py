"""The verb loadtest: measures, writes a report and sets the exit status. make passes the settings in the environment.

Exit status: 0 the objectives are met; 1 a missed objective, too many errors, a wrong answer or a regression; 2 the load
test could not run.
"""

from __future__ import annotations

import loadtest.patches  # noqa: F401 - first of all: it patches what the modules below import

# isort: split
import json
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

from export import catalog
from export.catalog import CatalogError, Row
from loadtest.errors import EndedEarlyError, LoadTestError
from loadtest.load import cores, trace
from loadtest.load.crew import Crew, processes
from loadtest.load.target import model_of, named
from loadtest.measure import profile, provenance
from loadtest.measure.progress import StepProgress
from loadtest.measure.record import Run
from loadtest.measure.runner import Runner, steps
from loadtest.measure.servers import Server, device, fresh, given, running
from loadtest.measure.servers import chosen as store_holds
from loadtest.report import gate, writer
from loadtest.report.baseline import COPY, read_baseline
from loadtest.report.markdown_report import terminal_table
from serving.choice import names
from serving.errors import ServingError

RESULTS = Path(os.environ.get("RESULTS") or Path(__file__).with_name("results"))


def rows_asked(baseline: str) -> list[Row]:
    """The rows of the catalog that MODELS and VARIANTS name, and the baseline where it is one. Raises CatalogError."""
    models = names(os.environ, "MODELS") or list(catalog.DEFAULT_MODELS)
    variants = names(os.environ, "VARIANTS") or list(catalog.DEFAULT_VARIANTS)
    found = catalog.rows(models, variants, device(variants))
    if baseline and baseline not in [row.name for row in found]:
        variant = (named(baseline) or (None, ""))[1]
        chosen = [variant] if variant else []
        found = catalog.rows([model_of(baseline).name], chosen, device(chosen)) + found
    return found


def measure() -> tuple[Run, bool]:
    """Measures the run, and returns whether all of it was measured. Prints the reason if the run ended early.

    Raises LoadTestError, CatalogError or ServingError.
    """
    baseline, host = os.environ.get("BASELINE", ""), given()
    is_file = baseline.endswith(".json")
    chosen, settings = rows_asked("" if is_file else baseline), profile.load(os.environ)
    recorded = trace.read(Path(settings.trace).expanduser()).first(settings.trace_s) if settings.trace else None
    busiest = [recorded.at(rate).busiest for rate in settings.rates or (0.0,)] if recorded else settings.busiest
    count = processes(settings.processes, settings.concurrency, busiest)
    split = cores.here(count)
    earlier = read_baseline(Path(baseline)) if is_file else None
    if not host:
        store_holds([row.name for row in chosen])  # before an hour is spent on the others
    folder = RESULTS / datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise LoadTestError(f"RESULTS={RESULTS} cannot be written ({error.strerror}); name another folder.") from None
    if earlier:
        (folder / COPY).write_text(json.dumps(earlier), encoding="utf-8")
    asked = {**asdict(settings), "trace": recorded.name if recorded else ""}
    run = Run(folder, provenance.record(split), asked, baseline=COPY if earlier else baseline)

    def open_server(archive_names: Sequence[str]) -> AbstractContextManager[Server]:
        return running(host) if host else fresh(archive_names, split)

    progress, complete = StepProgress(steps(settings, chosen)), True
    try:
        with cores.on(split.client), Crew(count, split, bool(settings.processes)) as crew:
            Runner(run, settings, open_server, progress, crew, trace=recorded).visit_all(chosen)
    except EndedEarlyError as error:
        print(error, file=sys.stderr)
        complete = False
    finally:
        progress.close()
    return run, complete


def main() -> int:
    """Measures, writes the report, prints the table and the verdicts; returns the exit status."""
    try:
        run, complete = measure()
        summary = writer.write(run.folder)
        findings = gate.judge(summary)
    except (LoadTestError, CatalogError, ServingError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted; the server is stopped.", file=sys.stderr)
        return 130
    print(*summary["found"], "", terminal_table(summary), sep="\n")
    for finding in findings:
        print(finding.text)
    print(f"\nReport: {_shown(run.folder / 'report.html')}")
    return 1 if not complete or any(finding.failed for finding in findings) else 0


def _shown(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    sys.exit(main())
