"""The tables are consistent, and the error for a wrong name lists the known ones."""

import os
import subprocess
import sys

import pytest

from export import catalog
from export.catalog import CatalogError, rows
from export.steps import STEPS, StepError, apply
from tests.conftest import ROOT, hub_environment


def test_names_are_unique():
    models = [row.name for row in catalog.MODELS]
    variants = [(row.name, kind) for row in catalog.VARIANTS for kind in row.kinds]
    for names in (models, variants):
        assert len(set(names)) == len(names)
    assert not any("-" in name for name in models)  # the archive's name is <model>-<variant>


def test_every_step_of_every_variant_exists():
    assert {step for variant in catalog.VARIANTS for step in variant.steps} <= STEPS.keys()


def test_rows_in_the_order_given_and_null_with_its_own_variant():
    names = [row.name for row in rows(["digits", "null", "minilm"], ["eager", "torchscript"], "cpu")]
    assert names == ["digits-eager", "digits-torchscript", "null", "minilm-eager", "minilm-torchscript"]


@pytest.mark.parametrize(
    ("models", "variants", "says"),
    [
        (["bort"], ["eager"], "no model 'bort'; known: minilm, bert, digits"),
        (["bert"], ["fast"], "no variant 'fast'; known: eager, torchscript"),
    ],
)
def test_unknown_names(models, variants, says):
    with pytest.raises(CatalogError, match=says):
        rows(models, variants, "cpu")


def test_an_unknown_step_answers_with_the_known_ones():
    with pytest.raises(StepError, match=r"no step 'to_gold'; known: .*to_torchscript"):
        apply(("to_gold",), None)


ANOTHER = """
from export import catalog
catalog.VARIANTS += (catalog.Variant("another", ("to_torchscript", "freeze"), catalog.EXACT),)
from export.__main__ import main
raise SystemExit(main())
"""


def test_a_variant_of_known_steps_is_one_line(hub, tmp_path):
    """It is built, passes its dry run and has its parity, without any other change."""
    settings = {"MODELS": "bert", "VARIANTS": "another", "MODEL_STORE": str(tmp_path), "DEVICE": "cpu"}
    settings |= hub_environment(hub)
    built = subprocess.run(
        [sys.executable, "-c", ANOTHER], cwd=ROOT, env={**os.environ, **settings}, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert "bert-another" in built.stdout and "cos 1.000000" in built.stdout
    assert (tmp_path / "bert-another.mar").exists()
