"""The measurement of the request log and of traces: a short run with its four servers."""

import json
import subprocess

import pytest

from bench.records import HEADER
from tests.conftest import run

pytestmark = pytest.mark.served
SERVERS = ["neither", "log", "traces", "traces of 10 %"]


@pytest.fixture(scope="module")
def measured(null_store, tmp_path_factory):
    """(the finished process, the rows that it wrote)"""
    pytest.importorskip("opentelemetry.sdk", reason="traces need the extra tracing")
    out = tmp_path_factory.mktemp("records") / "records.json"
    done = run("bench.records", MODEL_STORE=str(null_store), ROUNDS="1", BLOCK="300", OUT=str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    return done, json.loads(out.read_text())["rows"]


def test_each_server_has_the_times_of_its_processes(measured):
    _, rows = measured
    assert list(rows) == SERVERS
    for row in rows.values():
        assert list(row) == list(HEADER[1:])
        assert row["front end"] > 0 and row["worker"] > 0 and row["median latency"] > 0


def test_only_a_server_that_traces_has_an_exporter(measured):
    _, rows = measured
    assert rows["traces"]["exporter"] > 0
    assert rows["neither"]["exporter"] == rows["log"]["exporter"] == 0


def test_the_table_shows_the_rows(measured):
    done, rows = measured
    lines = done.stdout.splitlines()
    assert lines[0].endswith("microseconds a request, medians of 1 blocks of 300")
    for line, (name, row) in zip(lines[3:], rows.items(), strict=True):
        assert line.split("  ")[0] == name and line.split()[-4:] == [f"{row[key]:.1f}" for key in HEADER[1:]]


def test_no_server_is_left(measured):
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "/records-" not in found
