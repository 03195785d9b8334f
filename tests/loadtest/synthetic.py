"""Hand-made runs: two archives with known latencies, in the files of a real run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import numpy as np

from loadtest.load import rows
from loadtest.load.rows import RequestRow
from loadtest.measure.profile import Profile
from loadtest.measure.record import Archive, Peak, Run, Trial, rows_file

BEGIN = 1_700_000_000_000_000
WINDOW = 1_000_000
WARM_UP, WINDOWS = 2, 5

ENVIRONMENT = {
    "date": "2026-01-02T03:04:05+00:00", "command": "make loadtest", "cpu": "A CPU", "cores": 2, "cores_available": 2,
    "memory_gib": 4.0, "gpus": [], "os": "An OS", "python": "3.11.0", "packages": {"locust": "2.0"},
    "git": {"commit": "0123456789abcdef", "dirty": False}, "pinning": "shared", "shared_cores": 2,
    "load_average_before": 0.1,
}  # fmt: skip


@cache  # most runs have most of these rows
def requests(
    archive: str, users: int, latency_ms: float, begin: int = BEGIN, error: str = "", seed: int = 0
) -> Sequence[RequestRow]:
    """A closed loop's rows for all windows: ``users`` users with about ``latency_ms`` each."""
    rng, made = np.random.default_rng(seed), []
    for user in range(users):
        at = begin + user * 97
        while at < begin + WINDOWS * WINDOW:
            took = round(latency_ms * 1e3 * rng.uniform(0.95, 1.05))
            stages = [round(took * share) for share in (0.1, 0.6, 0.05)]
            made.append(RequestRow(archive, at, at, at + took, 503 if error else 200, error, 100, *stages, users, 0))
            at += took
    return tuple(made)


def trial(
    run: Run, archive: str, made: Sequence[RequestRow], *, number: int = 1, purpose: str = "measure",
    mode: str = "closed", load: float = 4, beside: str = "",
) -> None:  # fmt: skip
    """Adds a trial with these rows to the run."""
    arrivals = "" if mode == "closed" else "poisson"
    new = Trial("", archive, beside or archive, purpose, mode, arrivals, load, number, BEGIN, WINDOW, WARM_UP, WINDOWS,
                True, 0.2)  # fmt: skip
    new = replace(new, id=f"{beside or archive}.{purpose}.{new.point}.r{number}")
    rows.write(rows_file(run.folder, new.id), rows.merge([made]))
    run.trials.append(new)


def make(folder: Path, slower: float = 1.2, error: str = "", baseline: str = "", slo: float = 0.0) -> Run:
    """A run of two rounds: toy-eager takes 10 ms at any load, toy-torchscript ``slower`` times as long, the floor 4
    ms."""
    profile = Profile("test", concurrency=(1, 4), slo_p99_ms=slo)
    archives = {name: Archive(name, "toy", name.partition("-")[2], "cpu", "ab" * 32, {"max_abs": 1e-6}, False)
                for name in ("toy-eager", "toy-torchscript")}  # fmt: skip
    run = Run(folder, ENVIRONMENT, asdict(profile), archives, baseline=baseline)
    for number in (1, 2):
        for name, factor in (("toy-eager", 1.0), ("toy-torchscript", slower)):
            trial(run, "null", requests("null", 1, 4.0), number=number, purpose="floor", load=1, beside=name)
            for users in (1, 4):
                made = requests(name, users, 10 * factor, error=error, seed=number)
                trial(run, name, made, number=number, load=users)
            trial(run, name, requests(name, 2, 10 * factor, seed=number), number=number, mode="open", load=200)
    run.peaks.append(Peak("toy-eager", 50.0, 64.0, "server", ((64.0, True), (128.0, False))))
    run.write()
    return run
