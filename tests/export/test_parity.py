"""The verdict: what is compared, and that each bound can fail."""

import numpy as np
import pytest

from export.catalog import Tolerance
from export.parity import Parity, compare, with_accuracy

REFERENCE = np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]], dtype=np.float32)
STRICT = Tolerance(max_abs=1e-3, cosine=0.9999, top1=1.0, accuracy_drop=0.5)


def test_equal_outputs_pass():
    parity = compare(REFERENCE.copy(), REFERENCE, STRICT, classes=True)
    assert parity.passed and (parity.max_abs, parity.cosine, parity.top1) == (0.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        (REFERENCE + 0.01, "max |Δ| is 1.00e-02"),
        (REFERENCE * [1, 1, -1], "cosine"),
        (REFERENCE[:, ::-1], "top-1 agreement is 0.0%"),
        (np.where(REFERENCE == 2, np.nan, REFERENCE), "not finite"),
        (REFERENCE[:1], "shape"),
    ],
)
def test_each_difference_fails(outputs, says):
    parity = compare(np.asarray(outputs, np.float32), REFERENCE, STRICT, classes=True)
    assert not parity.passed and says in " ".join(parity.failures)


def test_accuracy_may_drop_by_the_points_allowed_and_no_more():
    good = Parity(0.0, 1.0, 1.0)
    assert with_accuracy(good, 0.985, 0.99, STRICT).passed
    assert with_accuracy(good, 0.984, 0.99, STRICT).failures == ("accuracy is 98.40%, eager fp32 has 99.00%",)


def test_a_record_reads_back():
    parity = compare(REFERENCE + 0.01, REFERENCE, STRICT, classes=True)
    assert Parity.from_record(parity.record()) == parity
