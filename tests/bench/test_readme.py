"""The README's results are the published ones."""

from bench.readme import DOCUMENT, ROOT, published, renewed


def test_the_readmes_table_is_that_of_the_published_runs():
    readme = (ROOT / "README.md").read_text()
    assert renewed(readme) == readme, "stale: run python -m bench.readme"
    stale = readme.replace("| bert `eager` |", "| bert `eager` | 1")
    assert stale != readme and renewed(stale) == readme


def test_the_documents_figures_stand_beside_ours():
    table = published()
    for (model, variant), (cpu, gpu) in DOCUMENT.items():
        assert any(f"{model} `{variant}`" in line and f"{cpu} / {gpu}" in line for line in table.splitlines())
