"""From the finalists' rows to decision.json, on rows made by hand."""

import json
from dataclasses import dataclass, field, replace

import pytest

from choose import decision, ranking, words
from choose.objective import safe_load
from choose.outcome import Outcome, Point
from choose.request import Request
from choose.study import Search, prior
from loadtest.measure.record import Peak, Run
from tests.choose import synthetic
from tests.choose.recorded import outcome, space
from tests.choose.schema import SCHEMA, problems
from tests.conftest import ROOT
from tests.loadtest.synthetic import ENVIRONMENT, requests, trial

ASKED = Request(("digits",), hourly_cost=0.4, trials=8)
MACHINE = {**ENVIRONMENT, "date": "2026-01-02T03:04:05+00:00"}


USERS = Point("closed", 4, 400.0, 10.0, 20.0, 0.0, 0, True)


@dataclass
class Finalist:
    """A stand-in for choose.finals.Finalist, whose module imports Locust. Measured at four users."""

    configuration: object
    memory_mib: list = field(default_factory=lambda: [200.0, 202.0])
    gpu_memory_mib: list = field(default_factory=list)
    joules: list = field(default_factory=lambda: [3.0, 5.0])
    load: Point = USERS


def variant(name):
    return space().configuration(name, workers=2, threads=1, batch_size=8, queue=100)


def rows(tmp_path, latencies, request=ASKED, error="", **changes):
    """The figures of a run in which each configuration answered four users in the given milliseconds."""
    run = Run(tmp_path, ENVIRONMENT, {"slo_p99_ms": 0.0})
    for number in (1, 2):
        for each, ms in latencies.items():
            trial(run, each.archive, requests(each.archive, 4, ms, error=error if each != space().default else "",
                                              seed=number), number=number, beside=each.key)  # fmt: skip
    made = replace(space(), **changes)
    return ranking.figures(request, made, run, [Finalist(each) for each in latencies]), made


def decided(found, made, request=ASKED, peak=None):
    search = Search(None, request, made, lambda each, watch: outcome(each), list(prior(made, request, {})))
    search.run(lambda: 1e9)
    return decision.decide(request, made, "make choose MODEL=digits", MACHINE, search.records(), found, peak,
                           search.importance())  # fmt: skip


def test_what_is_faster_beyond_its_interval_wins_and_the_file_has_its_schema(tmp_path):
    found, made = rows(tmp_path, {variant("int8"): 20, variant("onnx"): 24, space().default: 40})
    peak = Peak("digits-int8", 50.0, 700.0, "server", ())
    made_of = decided(found, made, peak=peak)
    assert made_of["winner"]["variant"] == "int8" and not made_of["default_stays"]
    ratio = made_of["winner"]["ratio_to_default"]
    assert 1.8 < ratio["low"] <= ratio["ratio"] <= ratio["high"] < 2.2 and "times the default's" in made_of["why"]
    assert [each["variant"] for each in made_of["alternatives"]] == ["onnx", "torchscript"]
    assert made_of["exact"]["variant"] == "onnx" and made_of["default"]["is_default"]
    assert made_of["winner"]["cost_per_million"] == pytest.approx(0.4 / 3600 / made_of["winner"]["score"] * 1e6, 0.01)
    assert made_of["winner"]["joules_per_1000"] == 4.0 and made_of["winner"]["memory_mib"] == 201.0
    low, high = made_of["winner"]["requests_per_s_ci"]
    assert low <= made_of["winner"]["requests_per_s"] <= high
    assert made_of["open_loop"]["requests_per_s"] == 700.0
    path = decision.write(made_of, tmp_path)
    assert json.loads(path.read_text()) == made_of and problems(made_of) == []
    # The page and the words are written for this shape.
    expected = synthetic.decision()
    assert set(made_of) == set(expected)
    for name in ("trials", "finalists"):
        assert set(expected[name][0]) <= set(made_of[name][0])
    assert set(expected["trials"][0]["points"][0]) == set(made_of["trials"][0]["points"][0])


def test_published_decisions_have_the_schema_and_a_key_that_it_does_not_know_has_not():
    (published,) = (ROOT / "docs" / "results").glob("choose-*.json")
    found = json.loads(published.read_text())
    assert problems(found) == []
    assert problems(found | {"new": 1}) and problems({**found, "trials": [{**found["trials"][0], "state": "odd"}]})
    assert problems({key: value for key, value in found.items() if key != "why"})


def test_the_page_names_every_key_of_the_schema():
    page = (ROOT / "docs" / "choosing.md").read_text().split("## decision.json")[1].split("## What is not")[0]
    keys = {*SCHEMA["properties"], *(key for each in SCHEMA["$defs"].values() for key in each["properties"])}
    shared = {"schema"}  # the section's first word
    assert [key for key in sorted(keys - shared) if f"`{key}`" not in page] == []


def test_the_default_stays_where_nothing_beats_it_by_more_than_the_interval(tmp_path):
    found, made = rows(tmp_path, {variant("int8"): 39.96, space().default: 40})
    made_of = decided(found, made)
    assert made_of["default_stays"] and made_of["winner"] == made_of["default"]
    assert "no other beats it by more than its interval" in made_of["why"]


def test_a_finalist_within_the_winners_interval_is_named_as_one_that_another_run_may_choose(tmp_path):
    found, made = rows(tmp_path, {variant("int8"): 20, variant("onnx"): 20.02, space().default: 40})
    made_of = decided(found, made)
    (near,) = ranking.close(made_of["winner"], made_of["finalists"])
    assert {near["variant"], made_of["winner"]["variant"]} == {"int8", "onnx"}
    said = words.sentences(made_of)
    assert f"within the interval of the winner: `{near['archive']}` with 2 workers" in said
    found, made = rows(tmp_path / "clear", {variant("int8"): 20, variant("onnx"): 24, space().default: 40})
    clear = decided(found, made)
    assert ranking.close(clear["winner"], clear["finalists"]) == []
    assert "another run" not in words.sentences(clear) and clear["winner"]["ratio_to_winner"] is None


def test_a_finalist_with_an_error_or_a_variant_that_may_not_win_does_not(tmp_path):
    found, made = rows(tmp_path / "error", {variant("int8"): 20, space().default: 40}, error="500")
    assert decided(found, made)["default_stays"] and found[0]["reason"] == "100.00% of the requests failed"
    barred = {**space().candidates, "int8": replace(space().candidates["int8"], reason="its cosine is 0.995")}
    found, made = rows(tmp_path / "barred", {variant("int8"): 20, space().default: 40}, candidates=barred)
    assert not found[0]["meets"] and decided(found, made)["default_stays"]


def test_without_any_that_meets_the_objective_the_default_is_named_and_said_to_miss(tmp_path):
    strict = replace(ASKED, slo_p99_ms=1.0)
    found, made = rows(tmp_path, {variant("int8"): 20, space().default: 40}, strict)
    made_of = decided(found, made, strict)
    assert not made_of["winner"]["meets"] and made_of["winner"]["is_default"]
    assert made_of["why"].startswith("None of 8 configurations meets a p99 of 1 ms; the default has p99")
    assert made_of["pareto"] == [] and made_of["alternatives"] == []


def test_without_a_default_that_could_be_measured_the_nearest_is_named(tmp_path):
    strict = replace(ASKED, slo_p99_ms=1.0)
    found, made = rows(tmp_path, {variant("int8"): 20}, strict)
    made_of = decided(found, made, strict)
    assert made_of["default"] is None and "; the nearest has p99 " in made_of["why"] and problems(made_of) == []
    assert "`digits-int8`" in words.sentences(made_of).splitlines()[0]


def test_a_default_that_misses_the_objective_is_beaten_by_whatever_meets_it(tmp_path):
    asked = replace(ASKED, slo_p99_ms=36.0)
    found, made = rows(tmp_path, {variant("int8"): 32, space().default: 40}, asked)
    made_of = decided(found, made, asked)
    assert made_of["winner"]["variant"] == "int8" and "The default does not meet" in made_of["why"]


def test_latency_and_memory_are_better_when_they_are_less(tmp_path):
    for objective, key in (("latency", "p50_ms"), ("memory", "memory_mib")):
        asked = replace(ASKED, objective=objective)
        found, made = rows(tmp_path / objective, {variant("int8"): 20, space().default: 40}, asked)
        made_of = decided(found, made, asked)
        assert found[0]["score"] == pytest.approx(found[0][key])
        assert made_of["default_stays"] == (objective == "memory")  # both took 200 MiB


def test_no_trial_of_the_pareto_front_is_beaten_in_everything():
    search = Search(None, replace(ASKED, trials=24), space(), lambda each, watch: outcome(each))
    search.run(lambda: 1e9)
    records = search.records()
    front = decision.pareto(space(), records)
    best = max(records, key=lambda each: each.worth.value)
    assert best.number in front and 0 < len(front) < len(records)
    worse = replace(records[0], number=99, outcome=Outcome(records[0].outcome.points, 9e9))
    assert 99 not in decision.pareto(space(), [*records, worse])


@pytest.mark.parametrize(("slo", "users"), [(50.0, 4), (45.0, 4), (43.0, 2), (21.0, 1), (19.0, 1), (None, 8)])
def test_a_finalist_is_loaded_with_room_to_the_objective(slo, users):
    p99s = {1: 20.0, 2: 30.0, 4: 38.0, 8: 90.0}
    points = tuple(replace(USERS, load=load, p99_ms=p99, requests_per_s=100.0 * load) for load, p99 in p99s.items())
    assert safe_load(replace(ASKED, slo_p99_ms=slo), points).load == users


def test_a_finalist_that_misses_is_tried_with_three_quarters_of_its_users():
    loads = [USERS]
    while less := loads[-1].lighter():
        loads.append(less)
    assert [each.load for each in loads] == [4, 3, 2, 1]
    assert replace(USERS, mode="open").lighter() is None
