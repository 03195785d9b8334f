"""The tables and the picture of pages equal those made from the published results."""

import re

import pytest

from bench.picture import picture
from bench.published import DOCUMENT, PICTURE, ROOT, read, renewed, sections


@pytest.mark.parametrize(("place", "section"), sections().items(), ids=lambda value: getattr(value, "name", None))
def test_each_section_is_that_of_the_published_runs(place, section):
    path, name = place
    page = path.read_text()
    assert renewed(page, name, section) == page, "stale: run python -m bench.published"
    stale = page.replace(section, section.replace("1", "2"))
    assert stale != page and renewed(stale, name, section) == page


def test_a_page_without_the_section_is_an_error():
    with pytest.raises(ValueError, match="no section headline"):
        renewed("# A page", "headline", "")


def test_the_table_has_the_documents_figures():
    table = sections()[ROOT / "docs" / "variants.md", "results"]
    for (model, variant), (cpu, gpu) in DOCUMENT.items():
        assert any(f"{model} `{variant}`" in line and f"{cpu} / {gpu}" in line for line in table.splitlines())


def test_the_picture_is_drawn_from_the_published_runs():
    runs = [read("bench-h100"), read("bench-cpu")]
    assert PICTURE.read_text() == picture(runs), "stale: run python -m bench.published"
    bars = re.findall(r'<text [^>]*>([a-z0-9]+)</text><rect class="(\w+)"', PICTURE.read_text())
    assert [name for name, kind in bars if kind == "best"] == ["graph", "graph", "onnx", "int8"]
    assert len(bars) == sum(row["batch"] == 1 and row["length"] in (None, 128) for run in runs for row in run["rows"])
