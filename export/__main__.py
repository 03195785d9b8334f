"""``make archive``: builds the chosen archives that are out of date, and prints their verdicts.

Plans without importing torch; each archive is built in a separate process, forked from one that has the libraries
loaded. Settings come from the environment, as make passes them: see options.py. RESULTS_JSON names a file for programs:
[{"archive", "verdict", "error"}].
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from export import archive as archives
from export.catalog import CatalogError, Row
from export.device import DeviceError
from export.errors import CheckpointError
from export.fingerprint import fingerprint
from export.isolated import build_in_process
from export.options import Options, read_options
from export.own_handler import check
from export.own_models import record
from export.parity import Parity
from export.progress import Progress, table
from export.weights import Choice
from serving.chosen import Choices
from serving.environment import temp_folder
from serving.errors import ServingError
from serving.store import STORE, intact_digest


@dataclass
class Result:
    """A line of the closing table."""

    archive: str
    label: str
    verdict: str
    size: int = 0
    seconds: float = 0.0
    parity: Parity | None = None
    error: str = ""


def main() -> int:
    """Returns the exit status: 0 when every chosen archive is in the store and passed its checks."""
    try:
        options = read_options(os.environ, adopting=True, choices=Choices.of(os.environ))
        for note in options.notes:
            print(note, file=sys.stderr)
        with _lock(STORE):
            results = _bring_up_to_date(options)
        if options.adopted and not all(result.error for result in results):
            record(*options.adopted)
        if path := os.environ.get("RESULTS_JSON"):
            _write(results, Path(path))
    except CheckpointError as error:
        print(error, file=sys.stderr)
        return 1
    except (CatalogError, DeviceError, ServingError, BlockingIOError) as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:  # a weights file that the user may not read, or a store that the user may not write
        print(f"{error.filename or STORE}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; the store holds what was finished before, whole.", file=sys.stderr)
        return 130
    _show(results)
    return 1 if any(result.error for result in results) else 0


@contextmanager
def _lock(store: Path) -> Iterator[None]:
    store.mkdir(parents=True, exist_ok=True)
    with (store / ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError("Another make archive is at work on this store; wait for it to finish.") from None
        yield


def _bring_up_to_date(options: Options) -> list[Result]:
    results = {row.name: _current(row, options.choice(row), options.device) for row in options.rows}
    stale = [row for row in options.rows if results[row.name] is None]
    for model in {row.model.name: row.model for row in stale if row.model.handler}.values():
        check(model)
    if stale:
        from export.build import remove_leftovers

        remove_leftovers(STORE)
        tempfile.tempdir = temp_folder()  # the fork server puts its socket there
        progress = Progress(len(stale))
        for row in stale:
            results[row.name] = _build(row, options.choice(row), options.device, progress)
        progress.close()
    return [result for result in results.values() if result is not None]


def _current(row: Row, choice: Choice, device: str) -> Result | None:
    """The result of an archive that is up to date; None for one that has to be built."""
    path = STORE / f"{row.name}.mar"
    record = archives.read_record(path)
    if not record or record.get("fingerprint") != fingerprint(row, device, choice) or not intact_digest(path):
        return None
    size, parity = path.stat().st_size, Parity.from_record(record["parity"])
    return Result(row.name, _label(row, choice), "up to date", size, parity=parity)


def _build(row: Row, choice: Choice, device: str, progress: Progress) -> Result:
    started = time.perf_counter()
    progress.stage(row.name, "starting")
    outcome = build_in_process(row, device, choice, STORE, lambda text: progress.stage(row.name, text))
    progress.finish(row.name)
    seconds = time.perf_counter() - started
    if isinstance(outcome, str):
        return Result(row.name, _label(row, choice), "failed", seconds=seconds, error=outcome)
    return Result(row.name, _label(row, choice), "built", outcome.size, seconds, outcome.parity)


def _label(row: Row, choice: Choice) -> str:
    return f"{row.name} (random weights)" if choice.random else row.name


def _write(results: list[Result], path: Path) -> None:
    found = [{"archive": each.archive, "verdict": each.verdict, "error": each.error} for each in results]
    path.write_text(json.dumps(found, indent=1) + "\n")


def _show(results: list[Result]) -> None:
    lines = [
        (
            result.label,
            f"{result.size / 1e6:.1f} MB" if result.size else "-",
            f"{result.seconds:.1f} s" if result.seconds else "-",
            result.parity.summary() if result.parity else "-",
            result.verdict,
        )
        for result in results
    ]
    print(table(("archive", "size", "time", "parity with eager fp32", "verdict"), lines))
    for result in results:
        if result.error:
            print(f"{result.label} was not packed: {result.error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
