"""The search on a recorded table: its order, its pruner, its budget, and its continuation after a kill."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from optuna.trial import TrialState

from choose.errors import ChooseError
from choose.outcome import Outcome
from choose.request import Request
from choose.study import Search, prior
from choose.table import Table, simulate
from loadtest.errors import LoadTestError
from serving.errors import ServingError
from tests.choose.recorded import live, outcome, points, space, watched
from tests.conftest import ROOT

ASKED = Request(("digits",), trials=8)


def search(folder, asked=ASKED, evaluate=lambda each, watch: outcome(each), **changes):
    made = replace(space(), **changes)
    return Search(folder, asked, made, evaluate, list(prior(made, asked, {})))


def keys(found):
    return [record.configuration.key for record in found.records()]


def recorded(*arguments, status=0):
    done = subprocess.run([sys.executable, "-m", "tests.choose.recorded", *map(str, arguments)],
                          cwd=ROOT, capture_output=True, text=True, timeout=120)  # fmt: skip
    assert done.returncode == status, done.stderr
    return done.stdout.split()


def test_a_search_that_is_killed_goes_on_and_asks_again_for_what_was_cut_off(tmp_path):
    first = recorded(tmp_path, 2, status=-9)
    whole = search(None)
    whole.run(lambda: 1e9)
    assert first == keys(whole)[:3]
    then = recorded(tmp_path)
    assert len(then) == 8 - 2 and first[2] in then  # what was cut off is measured after all
    assert sorted(keys(search(tmp_path))) == sorted({*first, *then})


def test_a_search_that_is_killed_at_any_write_to_its_file_comes_to_the_same_end(tmp_path):
    drawn, statuses = random.Random(3), []
    while not statuses or statuses[-1]:
        statuses.append(live(tmp_path, drawn.randrange(1, 80)))
        assert statuses[-1] in (0, signal.SIGKILL) and len(statuses) < 100
    found = search(tmp_path)
    records, states = found.records(), {each.state for each in found.study.get_trials(deepcopy=False)}
    assert len(statuses) > 5 and len(set(keys(found))) == len(records) == 8 and TrialState.RUNNING not in states
    assert all(each.outcome == outcome(each.configuration) for each in records if each.state == "complete")
    whole = search(None, evaluate=watched)
    whole.run(lambda: 1e9)
    assert sorted(keys(found)) == sorted(keys(whole)) and found.best().configuration == whole.best().configuration


def test_a_measured_trial_that_optuna_was_not_told_of_is_kept_and_not_measured_again(tmp_path, monkeypatch):
    monkeypatch.setattr(Search, "_close", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    assert live(tmp_path, 1000) == signal.SIGKILL
    monkeypatch.undo()
    asked_for = []
    found = search(tmp_path, evaluate=lambda each, watch: asked_for.append(each) or outcome(each))
    assert keys(found) == [space().default.key]
    assert TrialState.RUNNING not in {each.state for each in found.study.get_trials(deepcopy=False)}
    found.run(lambda: 1e9)
    assert len(keys(found)) == len(set(keys(found))) == 8 and space().default not in asked_for


def test_the_same_seed_proposes_in_the_same_order_and_another_differs():
    orders = []
    for seed in (1, 1, 2):
        found = search(None, replace(ASKED, seed=seed, trials=12))
        found.run(lambda: 1e9)
        orders.append(keys(found))
    assert orders[0] == orders[1] != orders[2]
    assert orders[0][0] == space().default.key and len(set(orders[0])) == 12


def test_a_search_ends_when_every_configuration_was_measured(tmp_path):
    found = search(None, replace(ASKED, trials=None), axes={**space().axes, "batch_size": (8,), "threads": (1, 2)})
    found.run(lambda: 1e9)
    assert len(keys(found)) == len(set(keys(found))) == 3 * 2 * 2
    assert set(found.importance()) == {"variant", "workers", "threads"}
    assert max(found.importance(), key=found.importance().get) == "variant"


def test_the_budget_counts_the_time_of_earlier_runs(tmp_path):
    def evaluate(each, watch):
        time.sleep(0.05)
        return outcome(each)

    first = search(tmp_path, replace(ASKED, trials=2), evaluate)
    first.run(lambda: 1e9)
    assert 0.1 <= first.spent_s() < 30
    again = search(tmp_path, replace(ASKED, trials=None), evaluate)
    again.run(lambda: 0.1)
    assert len(again.records()) == 2


def test_even_without_time_the_default_is_measured():
    found = search(None)
    found.run(lambda: 0.0)
    assert keys(found) == [space().default.key]


def test_a_hopeless_trial_stops_early_and_is_not_judged_before_its_workers_are_busy():
    seen = []

    def evaluate(each, watch):
        slow = each.workers == 2
        for point in points(each):
            seen.append((each.workers, point.load))
            watch(replace(point, requests_per_s=point.requests_per_s / 10) if slow else point)
        return Outcome(points(each), 200.0)

    found = search(None, evaluate=evaluate)
    found.run(lambda: 1e9)
    pruned = [record for record in found.records() if record.state == "pruned"]
    assert pruned and {record.configuration.workers for record in pruned} == {2}
    assert {load for workers, load in seen if workers == 2} == {1, 2, 4}
    assert all(not record.worth.meets and "less than half" in record.reason for record in pruned)
    assert found.best().configuration.workers == 1


def test_a_configuration_that_does_not_start_is_told_and_the_others_are_measured():
    def evaluate(each, watch):
        if each.variant == "onnx":
            raise ServingError("A worker could not load: no room")
        return outcome(each)

    found = search(None, evaluate=evaluate)
    found.run(lambda: 1e9)
    failed = [record for record in found.records() if record.state == "failed"]
    assert {record.configuration.variant for record in failed} == {"onnx"}
    assert failed[0].reason == "A worker could not load: no room" and found.best().configuration.variant == "int8"


def test_a_machine_on_which_nothing_starts_ends_the_search():
    def evaluate(each, watch):
        raise LoadTestError("no answer")

    with pytest.raises(ServingError, match="All 3 configurations that were tried failed, the last one with: no answer"):
        search(None, evaluate=evaluate).run(lambda: 1e9)


def test_a_small_space_that_fails_as_a_whole_ends_the_search_and_says_what_to_remove(tmp_path):
    def evaluate(each, watch):
        raise LoadTestError("digits-onnx does not answer seven, but 400: no")

    with pytest.raises(ServingError, match=r"All 2 .* the last one with: digits-onnx does not answer seven") as error:
        search(tmp_path, replace(ASKED, trials=2), evaluate).run(lambda: 1e9)
    assert str(error.value).endswith(f"but 400: no; to measure them again, remove {tmp_path}")


NOTHING_MEETS = """
import locust  # first of all, as choose imports it
from choose.finals import finalists
from choose.study import Search
from serving.errors import ServingError
from tests.choose.recorded import Request, outcome, space

def evaluate(each, watch):
    if each == space().default:
        raise ServingError("no room")
    return outcome(each)

asked = Request(("digits",), slo_p99_ms=0.001, trials=3)
search = Search(None, asked, space(), evaluate)
search.run(lambda: 1e9)
print(*[each.configuration.key for each in finalists(asked, space(), search.records())])
"""


def test_where_the_default_fails_and_nothing_meets_the_objective_the_nearest_is_a_finalist():
    done = subprocess.run([sys.executable, "-c", NOTHING_MEETS], cwd=ROOT, capture_output=True, text=True, timeout=120)
    (only,) = done.stdout.split()
    assert only.startswith("digits-") and only != space().default.key


def test_on_a_recorded_table_a_quarter_of_the_trials_comes_near_the_best():
    made = space()
    result = simulate(Table(ASKED, made, {each: [outcome(each)] for each in made.all()}), seeds=3)
    assert (result["configurations"], result["trials"], result["unit"]) == (24, 6, "requests/s")
    assert result["search"]["share_near"] == 1 and result["search"]["worst"] >= 0.95
    assert result["random"]["median"] < result["search"]["median"]
    curve = result["search"]["curve"]
    assert len(curve) == 6 and curve == sorted(curve) and curve[-1] == result["search"]["median"]


def test_a_search_that_a_lucky_round_deceives_is_scored_by_the_mean():
    made = space()
    table = Table(ASKED, made, {each: [outcome(each)] for each in made.all()})
    best = max(table.outcomes, key=table.score)
    other = next(each for each in table.outcomes if each.variant == "torchscript" and each != made.default)
    lucky = outcome(best)
    points = [replace(each, requests_per_s=10 * each.requests_per_s) for each in lucky.points]
    once = {**table.outcomes, other: [replace(lucky, points=tuple(points)), *[outcome(other)] * 19]}
    deceived = replace(table, outcomes=once)
    assert deceived.score(other) < table.score(best)
    trials = simulate(deceived, seeds=20)["random"]
    assert trials["worst"] <= deceived.score(other) / table.score(best) + 0.01


def test_a_table_without_any_configuration_that_meets_the_objective_is_refused():
    made, asked = space(), replace(ASKED, slo_p99_ms=0.001)
    with pytest.raises(ChooseError, match="Nothing in the table"):
        simulate(Table(asked, made, {each: [outcome(each)] for each in made.all()}), seeds=1)
