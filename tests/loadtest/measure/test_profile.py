"""Profiles and the variables that change them; the split of cores; the search for a peak; the order of visits."""

import pytest

from export.catalog import rows
from loadtest.errors import LoadTestError
from loadtest.load.cores import split
from loadtest.measure import profile
from loadtest.measure.peak import find_peak


@pytest.mark.parametrize("path", sorted(profile.FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_profile_can_be_run(path):
    assert profile.load({"PROFILE": path.stem}).name == path.stem


def test_variables_change_the_profile():
    found = profile.load({"CONCURRENCY": "1,8", "RATE": "10 20.5", "DURATION": "6", "SEED": "9"})
    assert (found.concurrency, found.rates, found.window_s, found.seed) == ((1, 8), (10, 20.5), 2.0, 9)


def test_asking_for_one_kind_of_loop_leaves_the_other_out():
    assert profile.load({"RATE": "50"}).concurrency == ()
    assert profile.load({"CONCURRENCY": "2"}).rates == ()
    assert profile.load({"SLO_P99_MS": "100"}).search_peak
    assert not profile.load({"SLO_P99_MS": "100", "RATE": "50"}).search_peak


@pytest.mark.parametrize(
    ("environment", "cure"),
    [
        ({"PROFILE": "nope"}, "default"),
        ({"RATE": "fast"}, "RATE=50"),
        ({"RATE": "-1"}, "greater than 0"),
        ({"CONCURRENCY": "0"}, "from 1"),
        ({"ARRIVALS": "uniform"}, "poisson"),
        ({"DURATION": "0"}, "DURATION"),
        ({"ROUNDS": "0"}, "rounds"),
        ({"SEED": "-1"}, "seed must be from 0"),
        ({"RATE": "inf"}, "rates"),
        ({"PROCESSES": "-1"}, "PROCESSES"),
    ],
)
def test_what_cannot_be_run_is_one_sentence_with_the_cure(environment, cure):
    with pytest.raises(LoadTestError, match=cure):
        profile.load(environment)


def test_client_and_server_get_cores_of_their_own_where_there_are_four():
    pairs = {cpu: {cpu, cpu ^ 1} for cpu in range(8)}
    assert split(set(range(8)), pairs).client == (6, 7)
    assert split(set(range(8)), pairs).server == (0, 1, 2, 3, 4, 5)
    assert split({0, 1}, {0: {0}, 1: {1}}).client == ()
    assert "shared" in split({0, 1}, {}).statement


def test_each_process_of_the_client_gets_a_physical_core_up_to_half_of_them():
    pairs = {cpu: {cpu % 8, cpu % 8 + 8} for cpu in range(16)}
    found = split(set(range(16)), pairs, 3)
    assert found.apart == ((7, 15), (6, 14), (5, 13)) and found.client == (5, 6, 7, 13, 14, 15)
    assert "up to 3 processes" in found.statement and len(found.server) == 10
    assert len(split(set(range(16)), pairs, 99).apart) == 4
    assert split({0, 1, 2}, {}, 2).apart == ()


@pytest.mark.parametrize("capacity", [0.1, 3.0, 77.0, 900.0])
def test_bisection_finds_the_peak_within_five_percent(capacity):
    found = find_peak("a", 100.0, lambda rate: (rate <= capacity, True))
    if capacity < 0.5:
        assert found.requests_per_s == 0
    else:
        assert capacity / 1.05 <= found.requests_per_s <= capacity
    assert found.limited_by == "server" and len(found.probes) < 20


def test_a_peak_that_the_client_set_says_so():
    assert find_peak("a", 100.0, lambda rate: (rate <= 50, rate <= 50)).limited_by == "client"


def test_visits_are_interleaved():
    import subprocess
    import sys

    # In a separate process, since the runner imports Locust, which patches the process.
    code = (
        "from export.catalog import rows; from loadtest.measure.turns import interleaved;"
        "print([r.name for _, r in interleaved(rows(['minilm'], ['eager', 'torchscript'], 'cpu'), 3)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    a, b = (row.name for row in rows(["minilm"], ["eager", "torchscript"], "cpu"))
    assert done.stdout.strip() == str([a, b, b, a, a, b])
