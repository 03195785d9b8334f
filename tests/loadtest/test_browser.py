"""report.html in a real Chromium: it renders, its tables sort, it is silent and asks nobody for anything."""

from __future__ import annotations

import pytest

from loadtest import report
from tests import chromium
from tests.loadtest import synthetic

pytestmark = chromium.NEEDED


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium.started(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    synthetic.make(folder, baseline="toy-eager")
    report.write(folder)
    return (folder / "report.html").as_uri()


@pytest.fixture(params=["light", "dark"])
def opened(request, browser, page):
    chromium.show(browser, page, request.param)
    return browser


def marks(browser, chart):
    selector = f'[data-chart="{chart}"] :is(.point, path.js-line)'
    return browser.execute_script("return document.querySelectorAll(arguments[0]).length", selector)


@pytest.mark.parametrize("chart", ["curve", "distribution", "stages", "windows"])
def test_every_chart_has_marks(opened, chart):
    assert marks(opened, chart) >= 2


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


@pytest.mark.parametrize("pixels", [1280, 390])
def test_the_page_never_scrolls_sideways(opened, pixels):
    chromium.width(opened, pixels)
    opened.refresh()
    assert opened.execute_script("return document.documentElement.scrollWidth") <= pixels
    rights = "return [...document.querySelectorAll('.chart svg.main-svg')].map(s => s.getBoundingClientRect().right)"
    assert max(opened.execute_script(rights)) <= pixels


def test_colours_follow_the_scheme(browser, page):
    def background(scheme):
        chromium.scheme(browser, scheme)
        return browser.execute_script("return getComputedStyle(document.body).backgroundColor")

    browser.get(page)
    tick = "return getComputedStyle(document.querySelector('[data-chart=curve] .xtick text')).fill"
    light, light_tick = background("light"), browser.execute_script(tick)
    dark, dark_tick = background("dark"), browser.execute_script(tick)
    assert light != dark and light_tick != dark_tick
