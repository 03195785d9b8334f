"""The model of an archive, from its name alone or from its server."""

import dataclasses
import os
import subprocess
import sys

import pytest

from export import catalog
from loadtest.errors import LoadTestError
from loadtest.load.target import Target, Token, model_of, named
from tests.conftest import ROOT


@pytest.fixture
def dashed(monkeypatch):
    """The catalog with models whose names contain dashes and begin like others, and a variant with a dash."""
    minilm, variants = catalog.model("minilm"), catalog.VARIANTS
    models = [dataclasses.replace(minilm, name=name) for name in ("reviews", "reviews-bert", "reviews-eager")]
    monkeypatch.setattr(catalog, "MODELS", (*catalog.MODELS, *models))
    monkeypatch.setattr(catalog, "VARIANTS", (*variants, dataclasses.replace(variants[0], name="my-int8")))


@pytest.mark.parametrize("row", catalog.rows([m.name for m in catalog.MODELS], catalog.variant_names("cpu"), "cpu"),
                         ids=lambda row: row.name)  # fmt: skip
def test_every_archive_of_the_catalog_is_found_by_its_name(row):
    assert model_of(row.name) is row.model


@pytest.mark.parametrize(
    ("archive", "expected"),
    [
        ("reviews-eager", ("reviews", "eager")),
        ("reviews-bert-eager", ("reviews-bert", "eager")),
        ("reviews-my-int8", ("reviews", "my-int8")),
        ("reviews-bert-my-int8", ("reviews-bert", "my-int8")),
        ("reviews-eager-eager", ("reviews-eager", "eager")),
        ("null", ("null", "")),
    ],
)
def test_dashes_belong_to_model_and_variant(dashed, archive, expected):
    model, variant = named(archive)
    assert (model.name, variant) == expected


BASELINE = """
import loadtest.__main__ as verb
import dataclasses
from export import catalog
catalog.MODELS += (dataclasses.replace(catalog.model("minilm"), name="reviews-bert"),)
print(*[row.name for row in verb.rows_asked("reviews-bert-int8")])
"""


def test_a_dashed_baseline_joins_the_archives_named():
    """In a separate process, since Locust patches the process that imports it."""
    chosen = {"MODELS": "null,minilm", "VARIANTS": "torchscript, eager", "DEVICE": "cpu"}
    shown = subprocess.run(
        [sys.executable, "-c", BASELINE], cwd=ROOT, env={**os.environ, **chosen}, capture_output=True, text=True
    )
    assert shown.stdout.split() == ["reviews-bert-int8", "null", "minilm-torchscript", "minilm-eager"], shown.stderr


class Describing:
    """A client whose server describes every archive as this model's."""

    def __init__(self, model):
        self.model = model

    def describe(self, name):
        return {"customizedMetadata": {"model": self.model} if self.model else None}


def test_an_archive_under_another_name_is_found_by_its_servers_description():
    assert model_of("prod", Describing("minilm")).name == "minilm"


@pytest.mark.parametrize("client", [None, Describing("gone"), Describing(None)])
def test_an_archive_of_no_known_model_is_refused_by_name(client):
    with pytest.raises(LoadTestError, match=r"payloads for prod-x, whose model is not known: .*known: minilm"):
        model_of("prod-x", client)


def test_another_server_is_asked_where_its_route_says():
    asked = [Target("http://x", "minilm-torchscript", Token(lambda: "t"), route=route).path for route in ("", "/embed")]
    assert asked == ["/predictions/minilm-torchscript", "/embed"]
