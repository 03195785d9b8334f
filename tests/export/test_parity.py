"""The verdict on parity: what is compared, and that each bound can fail."""

import numpy as np
import pytest

from export.catalog import Tolerance
from export.parity import Parity, compare, with_accuracy

REFERENCE = np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]], dtype=np.float32)


def cases(rows):
    """Two cases of one row each."""
    return [{"logits": row[None]} for row in np.asarray(rows, np.float32)]


STRICT = Tolerance(max_abs=1e-3, cosine=0.9999, top1=1.0, accuracy_drop=0.5)


def test_equal_outputs_pass():
    parity = compare(cases(REFERENCE), cases(REFERENCE), STRICT, classes=True)
    assert parity.passed and (parity.max_abs, parity.cosine, parity.top1) == (0.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        (REFERENCE + 0.01, "max |Δ| is 1.00e-02"),
        (REFERENCE * [1, 1, -1], "cosine"),
        (REFERENCE[:, ::-1], "top-1 agreement is 0.0%"),
        (np.where(REFERENCE == 2, np.nan, REFERENCE), "not finite"),
        (REFERENCE[:1], "1 cases were answered"),
        (REFERENCE[:, :2], "the outputs of case 0 are"),
    ],
)
def test_each_difference_fails(outputs, says):
    parity = compare(cases(outputs), cases(REFERENCE), STRICT, classes=True)
    assert not parity.passed and says in " ".join(parity.failures)


def test_accuracy_may_drop_by_the_points_allowed_and_no_more():
    good = Parity(0.0, 1.0, 1.0)
    assert with_accuracy(good, 0.985, 0.99, STRICT).passed
    assert with_accuracy(good, 0.984, 0.99, STRICT).failures == ("accuracy is 98.40%, eager fp32 has 99.00%",)


def test_a_record_reads_back():
    parity = compare(cases(REFERENCE + 0.01), cases(REFERENCE), STRICT, classes=True)
    assert Parity.from_record(parity.record()) == parity


def test_rows_of_ragged_cases_are_compared_one_by_one():
    """Per-token outputs: cases have different lengths, and one wrong token is found."""
    reference = [{"logits": np.eye(n, 4, dtype=np.float32)} for n in (1, 3)]
    wrong = [{"logits": each["logits"].copy()} for each in reference]
    assert compare(wrong, reference, STRICT, classes=True).passed
    wrong[1]["logits"][2] = wrong[1]["logits"][2][::-1]
    assert "top-1 agreement is 75.0%" in compare(wrong, reference, STRICT, classes=True).failures[-1]


def test_single_values_are_joined_over_the_cases():
    """One score has no direction: two scores whose order is swapped do."""
    reference = [{"logits": np.array([[value]], np.float32)} for value in (5.0, -3.0, 1.0)]
    swapped = [reference[1], reference[0], reference[2]]
    lenient = Tolerance(cosine=0.99, top1=1.0)
    assert compare(reference, reference, lenient, classes=True).passed
    (failure,) = compare(swapped, reference, lenient, classes=True).failures
    assert "cosine is -0.8" in failure
