"""The soak: each bound fails when it is exceeded, and a short soak of minilm and digits passes."""

import json

import pytest

from loadtest.load.rows import RequestRow
from loadtest.soak.verdict import Sample, judge
from tests.conftest import run
from tests.trust.place import place

HOUR_US = 3_600_000_000


def verdict(rows=(), bad=(), samples=()):
    """The verdict's sentences for an hour of these rows."""
    loads = {"a": list(map(row, rows)), "a bad": list(map(row, bad))}
    return judge(loads, samples or steady(), 0, 3600)["failed"]


def row(each):
    """(instant, milliseconds, status, error) as a row."""
    at, took_ms, status, error = each
    return RequestRow("a", at, at, at + int(took_ms * 1e3), status, error, 1, 1, 1, 1, 1, 0)


def steady(rise_mib=0.0, files=(5, 5), logs=0, missing=0):
    """40 samples of Java and of a worker, over an hour."""
    made = []
    for number in range(40):
        at, rss = number * HOUR_US // 40, int((600 + rise_mib * number / 40) * 2**20)
        made.append(Sample(at, "java", 200 << 20, 60, 30, logs))
        if number < 40 - missing:
            made.append(Sample(at, "a", rss, files[number >= 20], 9, logs))
    return made


def answers(late_ms=10.0, status=200, error=""):
    """4,000 answers in an hour, the last thousand after ``late_ms``; the very last one with that status and error."""
    made = [(n * HOUR_US // 4000, late_ms if n >= 3000 else 10.0, 200, "") for n in range(4000)]
    return [*made[:-1], (*made[-1][:2], status, error)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, None),
        ({"samples": steady(rise_mib=15)}, None),
        ({"samples": steady(rise_mib=25)}, "memory rose"),
        ({"samples": steady(files=(5, 6))}, "open files rose from 5 to 6"),
        ({"samples": steady(logs=100 << 20)}, "logs: 100.0 MiB"),
        ({"samples": steady(missing=1)}, "its process died"),
        ({"rows": answers(10.5)}, None),
        ({"rows": answers(11.5)}, "p99 rose by 15%"),
        ({"rows": answers(status=503, error="503 queue")}, "1 of 4000 answers"),
        ({"rows": answers(error="wrong answer")}, "1 of 4000 answers"),
        ({"bad": [(0, 1, 200, "")]}, "1 of 1 answers"),
        ({"bad": [(0, 1, 500, "500")]}, "1 of 1 answers"),
        ({"bad": [(0, 1, 413, "413")]}, None),
    ],
)
def test_each_bound_fails_when_it_is_broken(arguments, says):
    failed = verdict(**arguments)
    assert len(failed) == (says is not None) and (says is None or says in failed[0]), failed


@pytest.mark.served
def test_a_short_soak_of_both_models_grows_nothing(store, tmp_path):
    """Every bound but p99's drift, which a few seconds cannot show."""
    names = ["minilm-torchscript", "digits-torchscript"]
    with place(tmp_path, store, names) as made:
        both = {**made.environment, "MODELS": "minilm digits"}
        done = run("loadtest.soak", **both, DURATION="9", RATE="3", OUT=str(tmp_path / "soak.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "soak.json").read_text())
    assert found["failed"] == [] and found["processes"].keys() == {"java", *names}
    assert all(load["requests"] > 0 and load["unwanted"] == 0 for load in found["loads"].values())
    assert all(found["loads"][name]["checked"] > 0 for name in names)


def test_an_invalid_duration_is_one_sentence():
    refused = run("loadtest.soak", DURATION="soon")
    assert refused.returncode == 2 and refused.stderr.startswith("DURATION=soon is not a number")
