"""decision.md and decision.html: their content, and the page in a real Chromium."""

from __future__ import annotations

import re

import pytest
from selenium.webdriver.support.ui import WebDriverWait

from choose import charts, page, words
from loadtest.report import publish
from tests import chromium
from tests.choose import synthetic


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decision")
    assert page.write(synthetic.decision(), folder) == folder / "decision.html"
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium.started(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


def test_both_files_open_with_the_answer(folder):
    answer = words.sentences(synthetic.decision()).splitlines()[0]
    markdown, html = ((folder / f"decision.{kind}").read_text() for kind in ("md", "html"))
    assert markdown.split("\n\n")[1] == answer
    spoken = re.sub(r"<[^>]+>", "", html[html.index('class="answer"') :]).replace("&#x27;", "'").replace("&#39;", "'")
    assert answer.replace("`", "") in spoken[: spoken.index("Finalists")]


def test_no_speed_stands_without_its_parity(folder):
    tables = (folder / "decision.md").read_text().split("\n\n")
    headers = [table.splitlines()[0] for table in tables if "Requests/s |" in table]
    assert len(headers) == 2 and all("| Requests/s | Parity" in header for header in headers)


def test_every_trial_and_what_was_left_out_is_there(folder):
    text = (folder / "decision.md").read_text()
    for number in range(len(synthetic.TRIALS)):
        assert re.search(rf"\| {number} \| 31.2 \|$", text, re.MULTILINE), number
    assert "ended with <exit code> 137" in text and "`compile` was left out: no C++ compiler" in text
    assert "make choose MODEL=toy" in text and "0123456789ab" in text


def test_a_point_of_the_plot_says_how_right_it_is():
    (chosen,) = [each for each in charts.chart_data(synthetic.decision())["points"] if each["role"] == "chosen"]
    assert chosen["hover"][0] == "toy-int8, 2 × 1, batch 16" and "241 requests/s" in chosen["hover"][1]
    assert chosen["hover"][3] == "parity: |Δ| 3.2e-02, cos 0.992687"


def test_a_decision_can_share_its_plotly_with_other_pages(tmp_path):
    written = page.write(synthetic.decision(), tmp_path)
    publish.share(written)
    assert written.stat().st_size < 100_000 and publish.REFERENCE in written.read_text()


def test_the_line_joins_what_none_beats_in_throughput_and_p99():
    found = charts.chart_data(synthetic.decision())["line"]
    assert found == [[131.0, 10.1], [201.3, 28.8], [241.2, 46.2]]  # not 118.6/s at 11.9 ms


def test_costs_and_energy_have_columns_only_where_they_are_known():
    plain = [{**row, "cost_per_million": None} for row in synthetic.decision()["finalists"]]
    powered = [{**row, "joules_per_1000": 62.0, "gpu_memory_mib": 900.0} for row in plain]
    heading = [page.markdown(synthetic.decision(finalists=rows)).split("## Trials")[0] for rows in (plain, powered)]
    assert "Cost of a million" not in heading[0] and "J per 1,000" not in heading[0]
    assert "J per 1,000" in heading[1] and "GPU memory, MiB" in heading[1]


def test_answers_through_a_users_own_handler_have_a_column_beside_their_parity():
    rows = [{**row, "handler": "mine.py", "answers_as_default": 0.5} for row in synthetic.decision()["finalists"]]
    text = page.markdown(synthetic.decision(finalists=rows)).split("## Trials")[0]
    assert "| Answers as the default's |" in text and "before mine.py" in text
    assert "50 %" in text and "before" not in page.markdown(synthetic.decision()).split("## Trials")[0]


def test_a_choice_of_nothing_is_a_page_too():
    none = {"winner": None, "default": None, "exact": None, "open_loop": None, "finalists": [], "alternatives": []}
    made = synthetic.decision(**none, trials=[], importance={}, pareto=[], left_out=[], why="")
    assert "No configuration of" in page.html(made) and "There are too few trials" in page.markdown(made)


def test_the_page_escapes_what_it_is_told():
    left_out = [{"variant": "fp16", "reason": "<script>alert(1)</script>"}]
    text = page.html(synthetic.decision(left_out=left_out, model="</script><b>"))
    assert "<script>alert(1)" not in text and "&lt;script&gt;alert(1)" in text and "</script><b>" not in text


def wait_for(browser, selector, count):
    """Waits for plotly, which draws a chart again when it knows the width of the page. Until then the chart is
    empty."""
    found = "return document.querySelectorAll(arguments[0]).length"
    waiting = WebDriverWait(browser, 20)
    waiting.until(lambda _: browser.execute_script(found, selector) == count, f"not {count} {selector}")


@chromium.NEEDED
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_the_page_draws_in_silence_and_asks_nobody(browser, folder, colours):
    chromium.show(browser, (folder / "decision.html").as_uri(), colours)
    wait_for(browser, "[data-chart=pareto] .points path", sum(bool(each[5] and each[7]) for each in synthetic.TRIALS))
    wait_for(browser, "[data-chart=importance] .point", 5)
    assert browser.get_log("browser") == []
    assert all(url.startswith(("file:", "data:", "blob:")) for url in chromium.asked_for(browser))


@chromium.NEEDED
def test_a_variant_is_told_by_shape_as_well_as_by_colour(browser, folder):
    chromium.show(browser, (folder / "decision.html").as_uri())
    marks = "return document.querySelector('[data-chart=pareto]').data.slice(1).map(d => d.marker.%s.toString())"
    shapes = [each.split(",")[0].removesuffix("-open") for each in browser.execute_script(marks % "symbol")]
    colours = browser.execute_script(marks % "color")
    assert len(set(shapes)) == len(set(colours)) == len(shapes) == 5
    chips = browser.find_elements("css selector", ".variants li")
    assert [chip.text[1:] for chip in chips] == ["torchscript", "onnx", "int8", "eager", "openvino"]


@chromium.NEEDED
def test_a_phone_shows_speed_and_parity_without_scrolling(browser, folder):
    chromium.show(browser, (folder / "decision.html").as_uri(), pixels=390)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    first = browser.find_elements("css selector", "#finalists tbody tr:first-child > *")[:3]
    assert [cell.text.split("\n")[0] for cell in first] == ["toy-int8", "241.2", "|Δ| 3.2e-02"]
    assert first[1].rect["x"] + first[1].rect["width"] <= 390 and first[2].rect["x"] + 80 <= 390


@chromium.NEEDED
def test_the_tables_are_tables_to_a_screen_reader(browser, folder):
    chromium.show(browser, (folder / "decision.html").as_uri())
    for table in browser.find_elements("css selector", "table"):
        assert table.find_element("css selector", "caption").text
        assert table.find_elements("css selector", "thead th[scope=col]")
        assert table.find_elements("css selector", "tbody th[scope=row]")
    charts = browser.find_elements("css selector", "[data-chart]")
    assert all(len(chart.get_attribute("aria-label")) > 60 and chart.get_attribute("role") == "img" for chart in charts)
