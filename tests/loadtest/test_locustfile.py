"""Locust by its own command line, against a fake server that answers in 2 ms."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCUST = (sys.executable, "-m", "locust", "-f", "loadtest/locustfile.py", "--headless", "--only-summary", "-t", "5s")


@pytest.fixture(scope="module")
def host():
    command = [sys.executable, "-m", "tests.loadtest.stalling", "serve", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        yield server.stdout.readline().strip()
        server.terminate()


@pytest.mark.parametrize(("archives", "aggregated"), [("minilm-eager null", "minilm-eager"), ("null", "null")])
def test_the_aggregate_leaves_null_out_where_models_are_asked(host, tmp_path, archives, aggregated):
    command = [*LOCUST, "--host", host, "-u", "2", "-r", "2", "--archives", archives, "--check-every", "0"]
    done = subprocess.run(
        [*command, "--csv", str(tmp_path / "seen")], cwd=ROOT, capture_output=True, text=True, timeout=60,
        env={**os.environ, "TOKEN": "x"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    with (tmp_path / "seen_stats.csv").open() as file:
        counts = {row["Name"]: int(row["Request Count"]) for row in csv.DictReader(file)}
    assert set(counts) == {*archives.split(), "Aggregated"} and min(counts.values()) > 10
    assert counts["Aggregated"] == counts[aggregated]
