"""Rows: a file gives the same rows and bytes again, and merging loses and changes no row."""

import numpy as np
import pytest

from loadtest.load import rows
from loadtest.load.rows import Columns, RequestRow


def made(count, start=1_700_000_000_000_000, error=""):
    sent = range(start, start + 10 * count, 10)
    return [
        RequestRow("a-eager", at, at + 3, at + 903, 200, error, 20, 100, 500, 7, 1, i % 2) for i, at in enumerate(sent)
    ]


def test_rows_survive_the_file_exactly_and_the_bytes_do_too(tmp_path):
    first, second = tmp_path / "first.csv.gz", tmp_path / "second.csv.gz"
    written = made(50) + made(1, error="503 queue")
    rows.write(first, written)
    rows.write(second, written)
    assert rows.read(first) == written
    assert first.read_bytes() == second.read_bytes()
    assert not list(tmp_path.glob("*.part"))


def test_a_file_with_other_columns_is_refused(tmp_path):
    import gzip

    path = tmp_path / "old.csv.gz"
    path.write_bytes(gzip.compress(b"archive,latency\nx,1\n"))
    with pytest.raises(ValueError, match="other columns"):
        rows.read(path)


def test_merging_keeps_every_row_once_in_order_of_sending():
    everything = made(101)
    merged = rows.merge([everything[1::2], everything[0::2]])
    assert merged == everything
    assert rows.merge([]) == []
    assert len(rows.merge([made(3), made(3)])) == 6  # equal rows are still two requests


def test_rows_survive_the_wire_between_workers():
    assert [rows.from_list(rows.to_list(row)) for row in made(3)] == made(3)
    with pytest.raises(ValueError, match="cells"):
        rows.from_list(["x", 1])


def test_columns_tell_latency_from_service_time_and_unknown_from_zero():
    columns = Columns.of([*made(2), RequestRow("a", 5, 9, 20, 503, "503 queue", 0, -1, -1, -1, -1, 0)])
    assert columns.latency.tolist() == [903, 903, 15]
    assert columns.service.tolist() == [900, 900, 11]
    assert columns.ok.tolist() == [True, True, False]
    assert np.isnan(columns.inference[2]) and columns.inference[0] == 500
    assert columns.take(columns.ok).sent.size == 2
    assert Columns.joined([columns, Columns.of(made(1))]).latency.tolist() == [903, 903, 15, 903]
    assert Columns.of([]).latency.size == Columns.joined([]).latency.size == 0
