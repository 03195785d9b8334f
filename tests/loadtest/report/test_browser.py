"""report.html in a real Chromium: it renders, its tables sort, it logs nothing and loads nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver.support.ui import WebDriverWait

from loadtest.report import publish, writer
from tests import chromium
from tests.loadtest import synthetic

RESULTS = Path(__file__).resolve().parents[3] / "docs/results"
pytestmark = chromium.NEEDED


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium.started(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    synthetic.make(folder, baseline="toy-eager")
    writer.write(folder)
    return (folder / "report.html").as_uri()


@pytest.fixture(scope="module", params=["light", "dark"])
def opened(request, browser, page):
    """The browser with the page open. The tests that follow open others in the same browser."""
    chromium.show(browser, page, request.param)
    return browser


def marks(browser, chart):
    selector = f'[data-chart="{chart}"] :is(.point, path.js-line)'
    return browser.execute_script("return document.querySelectorAll(arguments[0]).length", selector)


def wait_for_marks(browser, chart):
    """Waits for plotly, which draws a chart again when it knows the width of the page. Until then the chart is
    empty."""
    WebDriverWait(browser, 20).until(lambda _: marks(browser, chart) >= 2, f"{chart} has no marks")


@pytest.mark.parametrize("chart", ["curve", "distribution", "stages", "windows"])
def test_every_chart_has_marks(opened, chart):
    wait_for_marks(opened, chart)


def test_the_console_is_silent_and_nothing_is_asked_for(opened):
    assert opened.get_log("browser") == []
    asked = chromium.asked_for(opened)
    assert asked and all(url.startswith(("file:", "data:", "blob:")) for url in asked)


def test_a_click_on_a_heading_sorts_up_and_another_down(opened):
    heading = opened.find_element("css selector", "table.sortable th:nth-child(3) button")
    heading.click()
    up = column(opened, 3)
    heading.click()
    assert up == sorted(up) and column(opened, 3) == sorted(up, reverse=True) and len(set(up)) > 2


def column(browser, number):
    table = browser.find_element("css selector", "table.sortable")
    cells = table.find_elements("css selector", f"tbody td:nth-child({number})")
    return [float(cell.get_attribute("data-value")) for cell in cells]


def test_another_load_point_draws_other_numbers(opened):
    def inference():
        return opened.execute_script("return document.querySelector('[data-chart=stages]').data[3].x[0]")

    buttons = opened.find_elements("css selector", ".loads button")
    before = inference()
    buttons[1].click()
    assert buttons[1].get_attribute("aria-pressed") == "true"
    assert inference() != before


def drawn_width(browser):
    """The pixels that the page and its charts take from the left."""
    wait_for_marks(browser, "windows")
    rights = "return [...document.querySelectorAll('.chart svg.main-svg')].map(s => s.getBoundingClientRect().right)"
    page = browser.execute_script("return document.documentElement.scrollWidth")
    return max(page, *browser.execute_script(rights))


def test_the_page_never_scrolls_sideways(opened):
    assert drawn_width(opened) <= 1280


@pytest.mark.parametrize("colours", ["dark", "light"])
def test_a_phone_shows_load_median_and_tail_without_scrolling(browser, page, colours):
    chromium.show(browser, page, colours, pixels=390)
    assert drawn_width(browser) <= 390
    cells = browser.find_elements("css selector", "#results tbody tr:first-child > *")[:4]
    assert [cell.text for cell in cells[:2]] == ["toy-eager", "1 at a time"]
    assert all(cell.rect["x"] >= 0 and cell.rect["x"] + cell.rect["width"] <= 390 for cell in cells)


def test_each_chart_leads_to_its_rows(browser, page):
    def marked():
        return [row.get_attribute("id") for row in browser.find_elements("css selector", "tr.marked")]

    chromium.show(browser, page)
    figures = browser.find_elements("css selector", "section.model figure")
    links = [figure.find_element("css selector", "a[data-rows]") for figure in figures]
    browser.find_elements("css selector", ".loads button")[1].click()
    links[1].click()
    assert marked() == ["toy-eager.closed-4", "toy-torchscript.closed-4"]
    assert browser.execute_script("return location.hash") == "#toy-eager.closed-4"
    links[0].click()
    assert len(figures) == 4 and len(marked()) == 6  # the curve is of all loads


def test_a_legend_names_what_is_drawn_and_nothing_else(browser, tmp_path):
    run = synthetic.make(tmp_path)
    last = [each for each in run.trials if each.archive == "toy-torchscript" and each.purpose == "measure"]
    for each in last:
        run.trials.remove(each)
    run.write()
    writer.write(tmp_path)
    chromium.show(browser, (tmp_path / "report.html").as_uri())
    wait_for_marks(browser, "stages")
    chips = [chip.text for chip in browser.find_elements("css selector", ".chips li") if chip.is_displayed()]
    assert chips == ["toy-eager", "null floor", "network, front end, queue", "preprocess", "inference", "postprocess"]


def test_pages_that_share_plotly_draw_as_before(browser, tmp_path):
    synthetic.make(tmp_path)
    writer.write(tmp_path)
    page = tmp_path / "report.html"
    publish.share(page)
    once = page.read_bytes()
    publish.share(page)
    assert page.read_bytes() == once and len(once) < 200_000 < (tmp_path / "plotly.min.js").stat().st_size
    chromium.show(browser, page.as_uri())
    wait_for_marks(browser, "curve")
    assert browser.get_log("browser") == []
    (tmp_path / "plotly.min.js").rename(tmp_path / "elsewhere")
    chromium.show(browser, page.as_uri())
    assert "needs plotly.min.js beside the page" in browser.find_element("css selector", "[data-chart]").text
    assert "Uncaught" not in str(browser.get_log("browser"))


@pytest.mark.parametrize("name", ["loadtest-cpu", "loadtest-h100", "loadtest-h200-graph"])
def test_the_published_pages_draw(browser, name):
    chromium.show(browser, (RESULTS / f"{name}.html").as_uri())
    wait_for_marks(browser, "curve")
    wait_for_marks(browser, "windows")
    assert browser.get_log("browser") == []
    assert (RESULTS / f"{name}.html").stat().st_size < 200_000


def test_colours_follow_the_scheme(browser, page):
    def background(scheme):
        chromium.scheme(browser, scheme)
        return browser.execute_script("return getComputedStyle(document.body).backgroundColor")

    browser.get(page)
    tick = "return getComputedStyle(document.querySelector('[data-chart=curve] .xtick text')).fill"
    light, light_tick = background("light"), browser.execute_script(tick)
    assert light != background("dark")
    # The charts are drawn again a moment after the page has changed.
    WebDriverWait(browser, 20).until(lambda browser: browser.execute_script(tick) != light_tick)
