"""The README's results are the published ones."""

from bench.readme import DOCUMENT, ROOT, published, renewed


def test_the_readmes_table_is_that_of_the_published_runs():
    readme = (ROOT / "README.md").read_text()
    assert renewed(readme) == readme, "stale: run python -m bench.readme"
    assert renewed(readme.replace(" ms ", " s ")) != readme


def test_the_documents_figures_stand_beside_ours():
    table = published()
    for (model, variant), (cpu, gpu) in DOCUMENT.items():
        assert any(f"{model} `{variant}`" in line and f"{cpu} / {gpu}" in line for line in table.splitlines())
