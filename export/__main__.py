"""``make archive``: builds the chosen archives that are out of date, and prints their verdicts.

Planning does not import torch. Each archive is built in a separate process, forked from one that has loaded the
libraries. make passes the settings in the environment (options.py). RESULTS_JSON names a file for the results as JSON:
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
from dataclasses import dataclass, replace
from pathlib import Path

from export import archive as archives
from export.catalog import CatalogError, Row
from export.device import DeviceError
from export.errors import CheckpointError
from export.fingerprint import fingerprint
from export.isolated import build_in_process, preload
from export.options import Options, read_options
from export.own_handler import check
from export.own_models import record
from export.parity import Parity
from export.progress import BuildProgress, table
from export.weights import Choice
from serving.chosen import Choices
from serving.environment import temp_folder
from serving.errors import ServingError
from serving.store import STORE, intact_digest
from serving.versions import FIRST, folder_of, held


@dataclass
class Result:
    """A line of the table of results."""

    archive: str
    label: str
    verdict: str
    size: int = 0
    seconds: float = 0.0
    parity: Parity | None = None
    error: str = ""
    note: str = ""


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
        print("\nInterrupted; the archives that were finished before are in the store.", file=sys.stderr)
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
            raise BlockingIOError("Another make archive is using this store; wait for it to finish.") from None
        yield


def _bring_up_to_date(options: Options) -> list[Result]:
    places = {row.name: _place(row.name, options.version) for row in options.rows}
    results = {row.name: _current(row, options, *places[row.name]) for row in options.rows}
    stale = [row for row in options.rows if results[row.name] is None]
    for model in {row.model.name: row.model for row in stale if row.model.handler}.values():
        check(model)
    if stale:
        from export.build import remove_leftovers

        for folder in {STORE, *(folder for folder, _ in places.values())}:
            folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(folder)
        tempfile.tempdir = temp_folder()  # the fork server puts its socket there
        preload(stale)
        progress = BuildProgress(len(stale))
        with tempfile.TemporaryDirectory(prefix="references-") as references:
            for row in stale:
                results[row.name] = _build(row, options, *places[row.name], Path(references), progress)
        progress.close()
    return [result for result in results.values() if result is not None]


def _place(name: str, wanted: str) -> tuple[Path, str]:
    """(the folder of an archive, its version). ``wanted`` is a version, or "" for the served one. A version that is not
    served has a folder of its own, so that make serve keeps serving the present one."""
    try:
        versions = held(STORE, name)
    except ServingError:  # a damaged archive is built again
        return STORE, wanted or FIRST
    served = next((version for version, path in versions.items() if path.parent == STORE), None)
    if served is None and not versions:
        return STORE, wanted or FIRST
    if wanted in ("", served):
        return STORE, served or FIRST
    return folder_of(STORE, wanted), wanted


def _current(row: Row, options: Options, folder: Path, version: str) -> Result | None:
    """The result of an archive that is not built, because it is up to date or because its version exists and must not
    change. None for an archive that has to be built."""
    path, choice = folder / f"{row.name}.mar", options.choice(row)
    record = archives.read_record(path)
    if not record or not intact_digest(path):
        return None
    size, parity = path.stat().st_size, Parity.from_record(record["parity"])
    kept = Result(row.name, _label(row, choice, version), "up to date", size, parity=parity)
    if record.get("fingerprint") == fingerprint(row, options.device, choice):
        return kept
    if version == FIRST:
        return None
    reason = f"version {version} exists, built from other sources, weights or packages, and a version does not change"
    variants = "" if row.model.kind == "none" else f" VARIANTS={row.variant.name}"
    cure = f"build another one: make archive MODELS={row.model.name}{variants} VERSION=..."
    if options.version:
        return replace(kept, verdict="refused", error=f"{reason}; {cure}")
    return replace(kept, verdict="kept", note=f"{row.name} is kept: {reason}. For what you have now, {cure}")


def _build(row: Row, options: Options, folder: Path, version: str, references: Path, progress: BuildProgress) -> Result:
    started, choice = time.perf_counter(), options.choice(row)
    label = _label(row, choice, version)
    progress.stage(row.name, "starting")
    outcome = build_in_process(
        row, options.device, choice, folder, version, references, lambda text: progress.stage(row.name, text)
    )
    progress.finish(row.name)
    seconds = time.perf_counter() - started
    if isinstance(outcome, str):
        return Result(row.name, label, "failed", seconds=seconds, error=outcome)
    note = (
        ""
        if folder == STORE
        else f"{label} is built and not served; run: make rollout MODEL={row.name} VERSION={version}"
    )
    return Result(row.name, label, "built", outcome.size, seconds, outcome.parity, note=note)


def _label(row: Row, choice: Choice, version: str) -> str:
    label = row.name if version == FIRST else f"{row.name} {version}"
    return f"{label} (random weights)" if choice.random else label


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
        if result.note:
            print(result.note, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
