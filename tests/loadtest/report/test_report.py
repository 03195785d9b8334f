"""Summary, gate and report of runs whose rows are known."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest

from loadtest.errors import LoadTestError
from loadtest.measure import record
from loadtest.report import gate, publish, writer
from loadtest.report.headline import sentences
from loadtest.report.html_report import results
from loadtest.report.markdown_report import markdown, terminal_table, verdict
from tests.loadtest import synthetic

ROOT = Path(__file__).resolve().parents[3]


def row(summary, archive, **wanted):
    found = [each for each in summary["rows"] if each["archive"] == archive
             and all(each[key] == value for key, value in wanted.items())]  # fmt: skip
    assert len(found) == 1
    return found[0]


def failures(summary):
    return [finding.text for finding in gate.judge(summary) if finding.failed]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """(folder, summary) of a run in which TorchScript takes 1.2 times as long as eager."""
    folder = tmp_path_factory.mktemp("plain")
    synthetic.make(folder)
    return folder, writer.write(folder)


@pytest.fixture
def own_copy(plain, tmp_path):
    """The folder of such a run, which the test may change."""
    return Path(shutil.copytree(plain[0], tmp_path / "run"))


def test_a_summary_states_what_the_rows_say(plain):
    found = row(plain[1], "toy-torchscript", mode="closed", concurrency=4)
    assert found["p50_ms"] == pytest.approx(12, rel=0.02)
    assert found["p50_ci_ms"][0] <= found["p50_ms"] <= found["p50_ci_ms"][1]
    assert found["requests_per_s"] == pytest.approx(4 / 0.012, rel=0.02)
    assert found["rounds"] == 2 and found["seconds"] == 6.0
    assert found["stable"] and not found["saturated"] and found["errors"] == 0
    assert found["null_floor_p50_ms"] == pytest.approx(4.0, rel=0.05)
    assert found["batch_mean"] == 4 and found["batch_share"] == {"4": 1.0}
    assert found["parity"] == {"max_abs": 1e-6} and found["device"] == "cpu" and found["model"] == "toy"


def test_stages_add_up_to_the_mean_latency(plain):
    found = row(plain[1], "toy-eager", mode="closed", concurrency=1)
    assert sum(found["stages_ms"].values()) == pytest.approx(found["mean_ms"], abs=0.01)
    assert found["stages_ms"]["inference"] == pytest.approx(0.6 * found["mean_ms"], rel=0.01)


def test_a_percentile_that_the_sample_cannot_bound_is_not_printed(plain):
    few, many = (row(plain[1], "toy-eager", mode="closed", concurrency=users) for users in (1, 4))
    assert few["requests"] == pytest.approx(600, abs=20) and few["p99_ms"] and few["p999_ms"] is None
    assert many["p999_ms"] is None and many["p999_ci_ms"] is None


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """(folder, summary) of a run in which TorchScript takes half as long as eager."""
    folder = tmp_path_factory.mktemp("half")
    synthetic.make(folder, slower=0.5)
    return folder, writer.write(folder)


def test_a_dash_is_explained_where_it_stands(half):
    folder, summary = half[0], deepcopy(half[1])
    page = (folder / "report.html").read_text()
    assert "–" not in terminal_table(summary) and "too few answers" not in terminal_table(summary)
    assert "too few answers to bound the percentile at 95 % (p99.9 takes 3,688)" in page[: page.index("Verdicts")]
    summary["rows"][0]["p99_ms"] = None
    shown = terminal_table(summary).splitlines()
    assert "–" in shown[2] and shown[-1].startswith("–: too few answers") and "p99 takes 368" in shown[-1]
    assert "| –" in markdown(summary) and "p99 takes 368" in markdown(summary).split("\n- ")[0]


def test_the_terminal_states_its_units():
    header = terminal_table({"rows": []}).splitlines()[0]
    assert header.split("  ") == ["archive", "load", "p50 ms", "p90 ms", "p99 ms", "req/s", "errors", "floor p50 ms",
                                  "parity", "verdict"]  # fmt: skip


def test_the_report_opens_with_what_was_found(half):
    folder, summary = half
    first = summary["found"][0]
    assert first.startswith("`toy-torchscript` (parity 1.0e-06) is the fastest `toy` archive at every load: 1 at a ti")
    assert re.search(r"4 at a time, 80\d requests/s, (1.99|2|2.01) times eager's \((1.99|2) to (2|2.01)\)", first)
    assert re.search(r"200/s poisson, p50 (4.9\d|5) ms, 0.(49\d|50?\d?) times eager's \(0.4\d* to 0.5", first)
    assert re.fullmatch(r"None of [\d,]+ requests failed.", summary["found"][1])
    text, page = (folder / "report.md").read_text(), (folder / "report.html").read_text()
    assert text.index(first) < text.index("| archive |") and page.index("is the fastest") < page.index("<table")


def test_what_is_found_names_errors_and_results_to_doubt(half):
    summary = deepcopy(half[1])
    for each in summary["rows"][:4]:
        each.update(errors=3, error_rate=0.01, stable=False, saturated=True)
    found = " ".join(sentences(summary["rows"]))
    assert "12 of " in found and "`toy-eager` at 1 at a time: 3 of " in found and "; and 1 more)." in found
    assert "Unstable, so not to be relied on: `toy-eager` at 1 at a time" in found and "client was saturated" in found
    eager = [each for each in summary["rows"] if each["variant"] == "eager"]
    twins = [{**each, "archive": "toy-twin", "variant": "twin"} for each in eager]
    assert "no clear difference from `toy-twin`" in sentences(eager + twins)[0]
    for each in summary["rows"]:
        each.update(error_rate=0.9, errors=9)
    assert not any("fastest" in said for said in sentences(summary["rows"]))


def test_windows_that_drift_are_reported_and_flagged(tmp_path):
    run = synthetic.make(tmp_path)
    for each in [each for each in run.trials if each.archive == "toy-eager" and each.mode == "closed"]:
        made = []
        for window in range(synthetic.WINDOWS):
            begin = synthetic.BEGIN + window * synthetic.WINDOW
            stretch = synthetic.requests("toy-eager", 1, 10 * 1.4**window, begin)
            made += [one for one in stretch if one.ended_us < begin + synthetic.WINDOW]
        synthetic.rows.write(record.rows_file(tmp_path, each.id), made)
    found = row(writer.write(tmp_path), "toy-eager", mode="closed", concurrency=1)
    assert not found["stable"] and not found["windows_agree"] and found["p50_ms"]
    assert "unstable" in terminal_table({"rows": [found]})


def test_rounds_that_differ_are_unstable_even_when_each_is_steady(tmp_path):
    run = synthetic.make(tmp_path)
    second = next(each for each in run.trials if each.id == "toy-eager.measure.closed-4.r2")
    synthetic.rows.write(record.rows_file(tmp_path, second.id), synthetic.requests("toy-eager", 4, 14))
    found = row(writer.write(tmp_path), "toy-eager", concurrency=4)
    assert found["windows_agree"] and not found["rounds_agree"] and not found["stable"]


@pytest.mark.parametrize(("share", "most"), [(0.8, True), (0.2, False)])
def test_a_run_in_which_most_requests_failed_is_not_stable(tmp_path, share, most):
    run = synthetic.make(tmp_path, slower=10)
    for each in [each for each in run.trials if each.archive == "toy-eager" and each.load == 4]:
        made = [one._replace(status=503, error="503 queue") if (order * 7) % 10 < share * 10 else one
                for order, one in enumerate(run.rows_of(each))]  # fmt: skip
        synthetic.rows.write(record.rows_file(tmp_path, each.id), made)
    summary = writer.write(tmp_path)
    found = row(summary, "toy-eager", concurrency=4)
    assert found["windows_agree"] and found["rounds_agree"] and found["error_rate"] == pytest.approx(share, abs=0.02)
    assert found["stable"] is not most and ("mostly failed" in verdict(found)) is most
    assert any("most of its requests failed" in finding.text for finding in gate.judge(summary)) is most
    assert any("`toy-eager` (parity 1.0e-06) is the fastest `toy` archive at every" in said
               for said in summary["found"]) is not most  # fmt: skip


def test_late_sends_and_a_busy_client_mark_a_result(tmp_path):
    run = synthetic.make(tmp_path)
    for each in [each for each in run.trials if each.mode == "open" and each.archive == "toy-eager"]:
        late = [one._replace(intended_us=one.intended_us - 5_000) for one in run.rows_of(each)]
        synthetic.rows.write(record.rows_file(tmp_path, each.id), late)
    found = row(writer.write(tmp_path), "toy-eager", mode="open")
    assert found["late_share"] == 1.0 and found["saturated"]
    assert found["p50_ms"] == pytest.approx(found["service_p50_ms"] + 5, abs=0.01)
    assert found["stages_ms"]["client_queue"] == pytest.approx(5, abs=0.01)


def test_the_report_is_a_pure_function_of_the_run(own_copy):
    names = ("summary.json", "report.md", "report.html")
    first = {name: (own_copy / name).read_bytes() for name in names}
    for name in names:
        (own_copy / name).unlink()
    again = subprocess.run(
        [sys.executable, "-m", "loadtest.report", str(own_copy)], cwd=ROOT, capture_output=True, text=True
    )
    assert again.returncode == 0, again.stderr
    assert first == {name: (own_copy / name).read_bytes() for name in names}


def test_a_good_run_passes(tmp_path):
    synthetic.make(tmp_path, slo=50)
    assert failures(writer.write(tmp_path)) == []


def test_a_missed_objective_fails_the_run(tmp_path):
    synthetic.make(tmp_path, slo=11)
    assert [text for text in failures(writer.write(tmp_path)) if "toy-torchscript" in text and "objective" in text]


def test_errors_fail_the_run_by_kind(tmp_path):
    synthetic.make(tmp_path, error="503 queue")
    summary = writer.write(tmp_path)
    assert row(summary, "toy-eager", concurrency=4)["errors_by_kind"].keys() == {"503 queue"}
    assert any("503 queue" in text for text in failures(summary))
    assert row(summary, "toy-eager", concurrency=4)["p50_ms"] is None


@pytest.mark.parametrize(("slower", "regressed"), [(1.3, True), (1.0, False), (0.7, False)])
def test_the_gate_fails_on_a_regression_against_an_archive_and_on_nothing_else(tmp_path, slower, regressed):
    synthetic.make(tmp_path, slower=slower, baseline="toy-eager")
    summary = writer.write(tmp_path)
    assert {each["metric"] for each in summary["comparisons"]} == {"p50_ms", "p99_ms", "requests_per_s"}
    assert {each["archive"] for each in summary["comparisons"]} == {"toy-torchscript"}
    assert bool(failures(summary)) == regressed


@pytest.mark.parametrize(("slower", "regressed"), [(1.5, True), (1.2, False)])
def test_the_gate_fails_on_a_regression_against_a_file(plain, tmp_path, slower, regressed):
    shutil.copy(plain[0] / "summary.json", tmp_path / "baseline.json")
    synthetic.make(tmp_path, slower=slower, baseline="baseline.json")
    assert bool(failures(writer.write(tmp_path))) == regressed


def test_a_baseline_without_a_common_load_point_is_an_error(tmp_path):
    (tmp_path / "baseline.json").write_text(json.dumps({"rows": [], "environment": {}}))
    synthetic.make(tmp_path, baseline="baseline.json")
    with pytest.raises(LoadTestError, match="no load point in common"):
        writer.write(tmp_path)


def test_a_folder_without_a_run_is_one_sentence(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "loadtest.report", str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2 and "holds no run" in done.stderr and "Traceback" not in done.stderr


def test_the_page_carries_everything_itself_and_escapes_what_it_is_told(tmp_path):
    run = synthetic.make(tmp_path)
    run.environment["cpu"] = "<script>alert(1)</script>"
    run.write()
    writer.write(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "<script>alert(1)" not in page and "&lt;script&gt;alert(1)" in page
    assert "<link" not in page and 'src="http' not in page


def test_a_search_for_the_peak_alone_is_a_report_too(tmp_path):
    run = synthetic.make(tmp_path)
    run.trials.clear()
    run.write()
    summary = writer.write(tmp_path)
    assert summary["rows"] == [] and summary["peaks"][0]["requests_per_s"] == 64.0
    assert "Peak under the objective" in (tmp_path / "report.html").read_text()


def test_random_weights_are_stamped_beside_every_speed(plain):
    summary = deepcopy(plain[1])
    for show in (terminal_table, markdown, lambda summary: results(summary["rows"])):
        assert "random weights" not in show(summary)
    for each in summary["rows"]:
        each["random_weights"] = True
    for show in (terminal_table, markdown, lambda summary: results(summary["rows"])):
        assert show(summary).count("(random weights)") >= len(summary["rows"])


def test_published_results_are_written_again_from_their_own_files(own_copy):
    for old, new in (("summary.json", "seen.json"), ("report.html", "seen.html")):
        (own_copy / old).rename(own_copy / new)
    page = (own_copy / "seen.html").read_text()
    assert publish.main([str(own_copy / "seen.json")]) == 0
    assert (own_copy / "seen.md").read_bytes() == (own_copy / "report.md").read_bytes()
    assert publish.series((own_copy / "seen.html").read_text()) == publish.series(page)
    assert publish.REFERENCE in (own_copy / "seen.html").read_text() and (own_copy / "plotly.min.js").is_file()


def test_what_cannot_be_published_is_one_sentence(own_copy, capsys):
    (own_copy / "other.html").write_text("<p>another page</p>")
    assert publish.main([str(own_copy / "other.html")]) == 2 and "holds no plotly.js" in capsys.readouterr().err
    assert publish.main([str(own_copy / "other.json")]) == 2 and "no published results" in capsys.readouterr().err
    (own_copy / "plotly.min.js").write_text("another")
    assert publish.main([str(own_copy / "report.html")]) == 2 and "another plotly.js" in capsys.readouterr().err
    assert publish.main([]) == 2 and "Usage" in capsys.readouterr().err
