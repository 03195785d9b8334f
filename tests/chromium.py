"""A real Chromium without a window, for tests of the pages that this project writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
NEEDED = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromium-driver are not installed")

ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--window-size=1280,1000",
)  # fmt: skip


@contextmanager
def started(folder: Path) -> Iterator[webdriver.Chrome]:
    """A browser with its profile in ``folder``. It records its console and its network requests."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (*ARGUMENTS, f"--user-data-dir={folder}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def show(browser: webdriver.Chrome, page: str, colours: str = "light", pixels: int = 1280) -> None:
    """Opens the page afresh, ``pixels`` wide, with empty logs."""
    scheme(browser, colours)
    width(browser, pixels)
    browser.get("about:blank")
    for kind in ("browser", "performance"):
        browser.get_log(kind)  # drops the entries of the previous page, and of Chromium's new-tab page
    browser.get(page)


def scheme(browser: webdriver.Chrome, colours: str) -> None:
    """Sets the colour scheme of the machine, "light" or "dark"."""
    features = [{"name": "prefers-color-scheme", "value": colours}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def width(browser: webdriver.Chrome, pixels: int) -> None:
    """Sets the width of the screen. Below 500 it is a phone's."""
    size = {"width": pixels, "height": 1000, "deviceScaleFactor": 1, "mobile": pixels < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def asked_for(browser: webdriver.Chrome) -> list[str]:
    """The URLs that the browser has requested since the page was shown."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
