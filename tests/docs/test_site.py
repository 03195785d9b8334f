"""The documentation as a site: it builds without a warning, no link of it is dead, and its search works from a file."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from selenium.webdriver.support.ui import WebDriverWait

from tests import chromium
from tests.conftest import ROOT

pytest.importorskip("mkdocs", reason="mkdocs is not installed; make docs installs it")


def build(folder: Path, config: Path = ROOT / "mkdocs.yml") -> subprocess.CompletedProcess[str]:
    """``make docs``, into another folder."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(config), "--site-dir", folder]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    built = build(folder)
    assert built.returncode == 0 and "WARNING" not in built.stderr, built.stderr
    return folder


class Links(HTMLParser):
    """The link targets and the anchors of a page."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.feed(page.read_text())

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.anchors.add(given.get("id") or "")
        self.targets += [value for name in ("href", "src") if (value := given.get(name))]


def pages(site: Path) -> dict[Path, Links]:
    """The site's pages, without those that a load test or a search wrote."""
    made = [path for path in site.rglob("*.html") if path.name != "404.html"]
    return {path: Links(path) for path in made if not (ROOT / "docs" / path.relative_to(site)).exists()}


def test_every_link_leads_to_a_file_and_an_anchor_of_the_site(site):
    found = pages(site)
    assert len(found) > 15
    dead = []
    for path, links in found.items():
        for target in links.targets:
            if re.match(r"(https://|mailto:)", target):
                continue
            name, _, anchor = unquote(target).partition("#")
            file = (path.parent / name).resolve() if name else path
            if not file.is_file() or (anchor and file in found and anchor not in found[file].anchors):
                dead.append(f"{path.relative_to(site)}: {target}")
    assert dead == []


def test_links_of_the_repository_become_links_of_the_site():
    found = importlib.util.spec_from_file_location("root_pages", ROOT / "docs" / "root_pages.py")
    root_pages = importlib.util.module_from_spec(found)
    found.loader.exec_module(root_pages)
    readme = "[a](docs/api.md#limits) [b](deploy/Dockerfile) ![c](docs/results/headline.svg) [d](#here)"
    assert root_pages.linked(readme, "index.md") == "[a](api.md#limits) b ![c](results/headline.svg) [d](#here)"
    page = "[a](../SECURITY.md) [b](results/loadtest-cpu.md) [c](https://example.org) [d](../README.md#how-fast)"
    in_site = "[a](security.md) [b](results/loadtest-cpu.html) [c](https://example.org) [d](index.md#how-fast)"
    assert root_pages.linked(page, "api.md") == in_site


def test_a_page_that_the_navigation_lacks_and_a_dead_anchor_end_the_build(tmp_path):
    (tmp_path / "docs").mkdir()
    for name in ("root_pages.py", "api_reference.py", "assets", "api.md"):
        (tmp_path / "docs" / name).symlink_to(ROOT / "docs" / name)
    (tmp_path / "docs" / "lost.md").write_text("# Lost\n\n[nowhere](api.md#nowhere)\n")
    settings = (ROOT / "mkdocs.yml").read_text()
    nav = settings[settings.index("\nnav:") : settings.index("\ntheme:")]
    config = tmp_path / "mkdocs.yml"
    config.write_text(settings.replace(nav, "\nnav: [index.md, api.md]\n"))
    built = build(tmp_path / "site", config)
    assert built.returncode != 0
    assert re.search(r"not included in the .nav.*\n.*lost\.md", built.stderr), built.stderr
    assert "'api.md#nowhere'" in built.stderr


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium.started(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@chromium.NEEDED
def test_a_page_opens_from_a_file_and_its_search_finds_another(browser, site):
    chromium.show(browser, (site / "index.html").as_uri())
    assert browser.find_element("tag name", "h1").text.startswith("TorchScript Inference")
    browser.find_element("css selector", "input.md-search__input").send_keys("Retry-After")
    found = WebDriverWait(browser, 20).until(lambda page: page.find_elements("css selector", ".md-search-result__link"))
    names = {link.get_attribute("href").partition("?")[0].rpartition("/")[2] for link in found}
    assert {"api.html", "reliability.html"} <= names
    assert browser.get_log("browser") == []
    asked = chromium.asked_for(browser)
    assert asked and all(url.startswith(("file:", "data:", "blob:", "about:")) for url in asked)


@chromium.NEEDED
@pytest.mark.parametrize("name", ["index.html", "api.html", "reliability.html", "api-reference.html"])
def test_no_page_scrolls_sideways_on_a_phone(browser, site, name):
    chromium.show(browser, (site / name).as_uri(), pixels=390)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390


@chromium.NEEDED
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_the_page_of_the_api_draws_every_url_from_a_file_alone(browser, site, colours):
    inside = "document.getElementById('api-reference').shadowRoot"
    chromium.show(browser, (site / "api-reference.html").as_uri(), colours)
    WebDriverWait(browser, 20).until(lambda page: page.execute_script(f"return {inside}.querySelector('.opblock-tag')"))
    browser.execute_script(f"for (const tag of {inside}.querySelectorAll('.opblock-tag')) tag.click()")
    document = json.loads((ROOT / "docs/openapi.json").read_text())
    wanted = sum(len(path) for path in document["paths"].values())
    drawn = f"return {inside}.querySelectorAll('.opblock').length"
    WebDriverWait(browser, 20).until(lambda page: page.execute_script(drawn) == wanted)
    # An operation is resolved and drawn when it is opened.
    browser.execute_script(f"{inside}.querySelector('.opblock-summary-control').click()")
    body = f"return {inside}.querySelector('.opblock-body')?.innerText"
    WebDriverWait(browser, 20).until(lambda page: "Retry-After" in (page.execute_script(body) or ""))
    assert browser.execute_script(f"return {inside}.querySelector('.errors-wrapper')") is None
    dark = browser.execute_script(f"return {inside}.host.classList.contains('dark-mode')")
    assert dark is (colours == "dark")
    assert browser.get_log("browser") == []
    assert all(url.startswith(("file:", "data:", "blob:", "about:")) for url in chromium.asked_for(browser))


def test_the_search_finds_the_page_of_the_api_and_not_its_schemas(site):
    index = (site / "search" / "search_index.json").read_text()
    assert "api-reference.html" in index and "additionalProperties" not in index
