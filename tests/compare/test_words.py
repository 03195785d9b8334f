"""Which server is ahead, by the intervals, and the sentences and pages about it."""

from __future__ import annotations

import re

import pytest

from compare import page, ranking, words
from compare.plan import BEST, OURS
from tests.compare import synthetic


def verdicts(result):
    return {(row["ours"], row["peer"], row["clients"]): row["verdict"] for row in result["ratios"]}


def test_one_is_ahead_where_the_whole_interval_is():
    found = verdicts(synthetic.result())
    assert found[OURS, "fastapi", 1] == "ahead" and found[OURS, "litserve", 8] == "behind"
    assert found[OURS, "fastapi", 8] == "level" and found[BEST, "litserve", 8] == "ahead"
    ratio = next(row for row in synthetic.result()["ratios"] if (row["peer"], row["clients"]) == ("litserve", 8))
    assert ratio["ratio"] == pytest.approx(100.5 / 120.5, abs=1e-3)
    assert ratio["low"] < ratio["ratio"] < ratio["high"] < 1


def test_turns_that_differ_widen_the_interval():
    steady = ranking.ratios([synthetic.row(OURS, 1, [[10, 10, 10], [10, 10, 10]]),
                             synthetic.row("ray", 1, [[10, 10, 10], [10, 10, 10]])], [OURS], ["ray"])  # fmt: skip
    moved = ranking.ratios([synthetic.row(OURS, 1, [[10, 10, 10], [14, 14, 14]]),
                            synthetic.row("ray", 1, [[10, 10, 10], [10, 10, 10]])], [OURS], ["ray"])  # fmt: skip
    assert steady[0]["low"] == steady[0]["high"] == 1 and moved[0]["low"] == 1 and moved[0]["high"] == 1.4


def test_wrong_answers_and_empty_windows_are_compared_with_nothing():
    own, good = synthetic.row(OURS, 1, [[10, 10]]), synthetic.row("ray", 1, [[9, 9]])
    assert len(ranking.ratios([own, good], [OURS], ["ray"])) == 1
    for bad in ({"wrong": 1}, {"turns": [[0, 9]]}):
        assert ranking.ratios([own, {**good, **bad}], [OURS], ["ray"]) == []


def test_a_target_is_met_by_whole_intervals_only():
    ratio = {"ours": BEST, "peer": "ray", "clients": 1}
    met, spans, missed = ({**ratio, "low": low, "high": high} for low, high in ((1.5, 1.8), (1.4, 1.7), (1.2, 1.4)))
    assert [ranking.target(found, BEST) for found in ([met], [met, spans], [met, spans, missed], [])] == [
        "met", "open", "missed", "open",
    ]  # fmt: skip


def test_a_peer_that_is_ahead_is_named_first_with_what_an_answer_costs_there():
    lines = words.sentences(synthetic.result()).splitlines()
    assert lines[0].startswith("LitServe is ahead of ours as served by default at 8 clients: ours has 0.834 times (")
    assert lines[1] == "MLServer was not measured: no wheel for this Python."
    assert "The target for ours as served by default, 1 times each peer's requests/s at every load, is missed." in lines
    assert "The target for our best variant, 1.5 times each peer's requests/s at every load, is met." in lines
    assert any("takes 12.5 ms of processor time in LitServe (2 × 1, batch 8)" in line for line in lines)
    assert any("whose model takes 8 ms of a median of 10 ms." in line for line in lines)
    assert "Our best variant's: `int8` of at least 0.996400." in lines


def test_where_no_peer_is_ahead_that_is_the_first_sentence():
    speeds = {key: turns for key, turns in synthetic.SPEEDS.items() if key[0] != "litserve"}
    assert words.sentences(synthetic.result(speeds)).splitlines()[0] == words.NONE_AHEAD


def test_a_busy_machine_and_failed_requests_are_said():
    found = synthetic.result(environment={**synthetic.ENVIRONMENT, "load_average_before": 3.0})
    found["rows"][0] |= {"failed": 0.5}
    found["rows"][1] |= {"requests_per_s": 0.0}
    said = words.sentences(found)
    assert said.index("was busy before (load average 3)") < said.index("is ahead of", said.index("\n"))
    assert "as served by default at 1 client (50.0%)" in said
    assert "within the windows of ours, as served by default at 8 clients; a longer DURATION= has some." in said


def test_both_pages_open_with_the_answer_and_have_every_figure(tmp_path):
    written = page.write(synthetic.result(), tmp_path / "x.json")
    markdown, html = (tmp_path / "x.md").read_text(), written.read_text()
    answer = words.sentences(synthetic.result()).splitlines()[0]
    assert markdown.split("\n\n")[1] == answer
    assert answer in re.sub(r"<[^>]+>", "", html[html.index('class="answer"') :])
    assert "| ours, as served by default | LitServe | 1.40," in markdown
    assert "| LitServe | 8 | 2 × 1, batch 8 | 120." in markdown
    assert "ended while starting" in markdown and "Cosine to eager fp32" in markdown
    assert html.count("data-chart=") >= 2 and "no wheel for this Python" in html


def test_a_chart_has_each_server_once_the_slowest_below():
    one, eight = page.chart_data(synthetic.result())["loads"]
    assert [bar["title"] for bar in one["bars"]][:2] == ["LitServe", "FastAPI"] and len(eight["bars"]) == 4
