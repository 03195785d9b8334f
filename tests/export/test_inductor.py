"""Inductor compiles a convolutional network ahead of time, and the archive's outputs equal those of eager fp32.

This uses timm's smallest ResNet, and runs with ROWS=all, which also tests digits and resnet50, and compiling at load.
"""

import pytest

from export import build as building
from export.catalog import Row, variant
from export.own_models import model_of_row
from export.weights import Choice
from tests.conftest import ALL_ROWS
from tests.export.image_checkpoints import MADE
from tests.forked import forking

pytestmark = pytest.mark.skipif(not ALL_ROWS, reason="compiles for most of a minute; set ROWS=all")


def test_a_small_resnet_is_compiled_and_keeps_its_parity(tmp_path):
    made, store = MADE["timm file"](tmp_path), tmp_path / "store"
    store.mkdir()
    source = {"source": str(made.source), "architecture": made.architecture, "labels": str(made.labels)}
    model = model_of_row("small", {**source, "task": "image-classification"})
    (row,) = [each for each in variant("aoti") if "image" in each.kinds]
    with forking():
        built = building.build(Row(model, row), "cpu", Choice(), store, lambda stage: None)
    assert built.parity.passed and built.parity.top1 == 1.0 and (store / "small-aoti.mar").exists()
