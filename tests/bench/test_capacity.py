"""docs/capacity.md has the tables of bench/capacity.py, and their arithmetic is right."""

import json
import subprocess
import sys

import pytest

from bench import bodies, capacity
from tests.conftest import ROOT

DEMAND = capacity.Demand()


def test_the_page_has_the_tables_that_the_script_writes():
    text = capacity.PAGE.read_text()
    assert capacity.page(text, capacity.sections(DEMAND)) == text, "run: python -m bench.capacity"


def test_a_changed_result_makes_the_page_stale(monkeypatch):
    before = capacity.sections(DEMAND)
    monkeypatch.setattr(capacity, "read", lambda name: slower(capacity_read(name)))
    after = capacity.sections(DEMAND)
    assert all(after[name] != before[name] for name in ("measured", "machines", "queue", "network", "metrics"))


capacity_read = capacity.read


def slower(result):
    """The result of a machine that is half as fast."""
    for row in result.get("rows", []):
        row["requests_per_s"] /= 2
    return result


@pytest.mark.parametrize(
    ("rate", "per_s", "replicas"),
    [(60, 100, 2), (61, 100, 3), (1, 100, 2), (1_000_000, 112, 14_882)],  # 1e6 / 67.2 = 14,880.95
)
def test_the_number_of_replicas_keeps_the_utilisation_and_a_spare(rate, per_s, replicas):
    assert capacity.count(rate, per_s, DEMAND) == replicas
    assert rate / ((replicas - 1) * per_s) <= 0.6


def test_every_figure_is_a_published_one():
    log = (ROOT / "docs" / "results" / "served-h200.log").read_text()
    for each in capacity.replicas():
        if each.source.endswith(".log"):
            assert f"good {each.per_s:8.0f}/s" in log and f"{each.p99_ms:.2f} ms" in log
            continue
        rows = json.loads((ROOT / "docs" / "results" / each.source).read_text())["rows"]
        assert any((row["requests_per_s"], row["p99_ms"]) == (each.per_s, each.p99_ms) for row in rows)


def test_the_reader_gives_the_prices():
    run = [sys.executable, "-m", "bench.capacity", "RATES=1000", "HOURLY_COST=minilm-torchscript=2"]
    shown = subprocess.run(run, cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode == 0 and "| 16 | 32.00; 8.8889 |" in shown.stdout  # 16 machines at 2, of 3.6 million
    assert "no price given" in shown.stdout


@pytest.mark.parametrize(
    "words", ["HOURLY_COST=1", "UTILISATION=2", "RATES=0", "SPARE=-1", "SPARES=1", "HOURLY_COST=minilm-torchscript=x"]
)
def test_an_invalid_variable_is_one_sentence(words, capsys):
    assert capacity.main([words]) == 2
    said = capsys.readouterr()
    assert said.out == "" and words.partition("=")[0] in said.err and said.err.count("\n") == 1


def test_series_are_counted_for_the_server_and_an_archive():
    page = '# HELP a b\na{model="m",variant="v"} 1\na{model="",kind="token"} 1\nb{model_name="m"} 2\nc 1\n'
    assert bodies.of_metrics(page, 1) == {"bytes": len(page), "series_of_server": 2, "series_of_archive": 2}
