"""report.html in a real Chromium: it renders, its tables sort, it is silent and asks nobody for anything."""

from __future__ import annotations

import json
import shutil

import pytest

from loadtest import report
from tests.loadtest import synthetic

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromium-driver are not installed")

ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--window-size=1280,1000",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    synthetic.make(folder, baseline="toy-eager")
    report.write(folder)
    return (folder / "report.html").as_uri()


@pytest.fixture(params=["light", "dark"])
def opened(request, browser, page):
    features = [{"name": "prefers-color-scheme", "value": request.param}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    width(browser, 1280)
    browser.get("about:blank")
    for kind in ("browser", "performance"):
        browser.get_log(kind)  # of the page before, and of the new-tab page that Chromium opens with
    browser.get(page)
    return browser


def width(browser, pixels):
    size = {"width": pixels, "height": 1000, "deviceScaleFactor": 1, "mobile": pixels < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def marks(browser, chart):
    selector = f'[data-chart="{chart}"] :is(.point, path.js-line)'
    return browser.execute_script("return document.querySelectorAll(arguments[0]).length", selector)


@pytest.mark.parametrize("chart", ["curve", "distribution", "stages", "windows"])
def test_every_chart_has_marks(opened, chart):
    assert marks(opened, chart) >= 2


def test_the_console_is_silent_and_nothing_is_asked_for(opened):
    assert opened.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
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
    width(opened, pixels)
    opened.refresh()
    assert opened.execute_script("return document.documentElement.scrollWidth") <= pixels
    rights = "return [...document.querySelectorAll('.chart svg.main-svg')].map(s => s.getBoundingClientRect().right)"
    assert max(opened.execute_script(rights)) <= pixels


def test_colours_follow_the_scheme(browser, page):
    def background(scheme):
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        return browser.execute_script("return getComputedStyle(document.body).backgroundColor")

    browser.get(page)
    tick = "return getComputedStyle(document.querySelector('[data-chart=curve] .xtick text')).fill"
    light, light_tick = background("light"), browser.execute_script(tick)
    dark, dark_tick = background("dark"), browser.execute_script(tick)
    assert light != dark and light_tick != dark_tick
