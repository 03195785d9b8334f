"""The parity check: the compared values, and a failure at each bound."""

import numpy as np
import pytest

from export.catalog import Tolerance
from export.parity import Parity, compare, with_accuracy, with_neighbours

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
        (REFERENCE + 0.01, "max |Δ| is 1.00e-02, allowed 3.0e-03"),
        (REFERENCE - 0.01, "max |Δ| is 1.00e-02, allowed 3.0e-03"),
        (REFERENCE * [1, 1, -1], "cosine is -0.285714, at least 0.9999 wanted"),
        (REFERENCE[:, ::-1], "top-1 agreement is 0.0%, at least 100.0% wanted"),
        (np.where(REFERENCE == 2, np.nan, REFERENCE), "outputs are not finite"),
        (REFERENCE[:1], "1 cases were answered, the reference has 2"),
        (REFERENCE[:, :2], "the outputs of case 0 are {'logits': (1, 2)}, the reference's {'logits': (1, 3)}"),
    ],
)
def test_each_difference_fails(outputs, says):
    parity = compare(cases(outputs), cases(REFERENCE), STRICT, classes=True)
    assert not parity.passed and says in parity.failures


def test_the_failed_case_and_an_output_of_another_name_are_named():
    outputs = cases(REFERENCE)
    outputs[1] = {"scores": outputs[1]["logits"]}
    (failure,) = compare(outputs, cases(REFERENCE), STRICT, classes=True).failures
    assert failure == "the outputs of case 1 are {'scores': (1, 3)}, the reference's {'logits': (1, 3)}"


def test_several_bounds_fail_together():
    failures = compare(cases(REFERENCE[:, ::-1]), cases(REFERENCE), STRICT, classes=True).failures
    assert [failure.split(" is ")[0] for failure in failures] == ["max |Δ|", "cosine", "top-1 agreement"]


@pytest.mark.parametrize(("scale", "allowed"), [(0.5, 0.25), (1.0, 0.25), (4.0, 1.0)])
def test_the_difference_may_grow_with_the_largest_value_above_one(scale, allowed):
    """The factor is the largest magnitude, also of a negative value. The bound itself is allowed."""
    reference = [{"logits": np.array([[-scale, 0.0, scale / 2]])}]
    lenient = Tolerance(max_abs=0.25)
    for difference, passes in ((allowed, True), (allowed + 2**-20, False)):
        outputs = [{"logits": reference[0]["logits"] + [0, -difference, 0]}]
        parity = compare(outputs, reference, lenient, classes=False)
        assert parity.passed == passes
    assert parity.failures == (f"max |Δ| is {allowed:.2e}, allowed {allowed:.1e}",)


def test_a_cosine_and_an_agreement_at_their_bounds_pass():
    outputs = cases([REFERENCE[0], REFERENCE[0]])
    parity = compare(outputs, cases(REFERENCE), Tolerance(), classes=True)
    assert (parity.max_abs, parity.cosine, parity.top1) == (2.0, 0.714286, 0.5)
    theirs = REFERENCE.astype(float)
    bound = float(theirs[0] @ theirs[1] / (np.linalg.norm(theirs[0]) * np.linalg.norm(theirs[1])))
    for cosine, top1, passes in ((bound, 0.5, True), (np.nextafter(bound, 1), 0.5, False), (bound, 0.51, False)):
        assert compare(outputs, cases(REFERENCE), Tolerance(cosine=cosine, top1=top1), classes=True).passed == passes


def test_outputs_other_than_classes_have_no_best_class():
    parity = compare(cases(REFERENCE[:, ::-1]), cases(REFERENCE), Tolerance(top1=1.0), classes=False)
    assert parity.passed and parity.top1 is None


def test_the_difference_is_recorded_with_three_digits_and_the_cosine_with_six():
    outputs, reference = [{"x": np.array([[1.0123456, 2.0]])}], [{"x": np.array([[1.0, 2.0]])}]
    parity = compare(outputs, reference, Tolerance(), classes=False)
    assert (parity.max_abs, parity.cosine) == (0.0123, 0.999988)


def test_half_precision_is_compared_without_overflow():
    """The norm of these rows is above the largest fp16 number."""
    rows = [{"x": np.full((1, 16), 60000, np.float16)}]
    parity = compare(rows, rows, Tolerance(max_abs=0.0, cosine=1.0), classes=True)
    assert parity.passed and parity.cosine == 1.0


def test_rows_of_zeros_fail():
    zeros = cases(np.zeros((2, 3)))
    parity = compare(zeros, zeros, STRICT, classes=False)
    assert (parity.max_abs, parity.cosine) == (0.0, 0.0) and not parity.passed
    tiny = cases(np.full((2, 3), 1e-12))
    assert compare(tiny, tiny, STRICT, classes=False).passed


def test_accuracy_may_drop_by_the_points_allowed_and_no_more():
    good = Parity(0.0, 1.0, 1.0)
    assert with_accuracy(good, 0.985, 0.99, STRICT).passed
    assert with_accuracy(good, 0.984, 0.99, STRICT).failures == ("accuracy is 98.40%, eager fp32 has 99.00%",)


def test_a_drop_of_the_accuracy_is_added_to_what_failed_before():
    bad = Parity(0.0, 1.0, 1.0, failures=("first",))
    parity = with_accuracy(bad, 1 / 3, 2 / 3, STRICT)
    assert parity.failures == ("first", "accuracy is 33.33%, eager fp32 has 66.67%")
    assert (parity.accuracy, parity.reference_accuracy) == (0.333333, 0.666667)
    assert with_accuracy(bad, 0.9, 0.5, STRICT).failures == ("first",)


EMBEDDINGS = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])


def test_nearest_neighbours_are_by_cosine_and_no_row_is_its_own():
    good = Parity(0.0, 1.0, failures=("first",))
    longer = EMBEDDINGS * [[1], [50], [3], [0.01]]
    assert with_neighbours(good, longer, EMBEDDINGS, Tolerance(neighbours=1.0)) == Parity(
        0.0, 1.0, failures=("first",), neighbours=1.0
    )
    opposite = np.array([[1.0, 0.0], [-1.0, 0.0], [-1.0, 0.5]])  # the first is far from both others
    moved = np.array([[1.0, 0.0], [-1.0, 0.5], [-1.0, 0.0]])
    parity = with_neighbours(good, moved, opposite, Tolerance(neighbours=1.0))
    assert parity.neighbours == 0.666667
    assert parity.failures == ("first", "67% of nearest neighbours agree, at least 100% wanted")


@pytest.mark.parametrize(("wanted", "passes"), [(0.25, True), (0.26, False)])
def test_the_neighbours_may_differ_as_far_as_allowed(wanted, passes):
    moved = EMBEDDINGS[[0, 1, 2, 0]]  # only the second keeps its neighbour
    parity = with_neighbours(Parity(), moved, EMBEDDINGS, Tolerance(neighbours=wanted))
    assert parity.neighbours == 0.25 and parity.passed == passes


def test_of_two_shares_of_equal_neighbours_the_smaller_one_counts():
    moved = EMBEDDINGS[[0, 1, 2, 0]]
    for first, second in ((moved, EMBEDDINGS), (EMBEDDINGS, moved)):
        parity = with_neighbours(Parity(), first, EMBEDDINGS, Tolerance())
        assert with_neighbours(parity, second, EMBEDDINGS, Tolerance()).neighbours == 0.25


@pytest.mark.parametrize(
    ("parity", "summary"),
    [
        (Parity(), "none to compare"),
        (Parity(3.14e-6, 0.9999996, accuracy=0.9921), "|Δ| 3.1e-06, cos 1.000000, accuracy 99.2%"),
        (Parity(0.0, 0.5, 0.746, neighbours=1.0), "|Δ| 0.0e+00, cos 0.500000, top-1 75%"),
        (Parity(0.0, 1.0, neighbours=0.99), "|Δ| 0.0e+00, cos 1.000000, neighbours 99%"),
        (Parity(accuracy=0.5), "accuracy 50.0%"),
    ],
)
def test_the_summary_names_what_was_measured(parity, summary):
    assert parity.summary() == summary


def test_a_record_is_plain_json():
    record = Parity(0.5, 0.25, failures=("a",)).record()
    assert record == {
        "max_abs": 0.5, "cosine": 0.25, "top1": None, "accuracy": None, "reference_accuracy": None, "failures": ["a"],
        "neighbours": None, "passed": False,
    }  # fmt: skip
    assert Parity().record()["passed"] is True
    assert Parity.from_record({"max_abs": 0.5, "passed": True}) == Parity(0.5)


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


def test_each_row_of_a_case_is_compared_with_its_own():
    """A case of two texts of three tokens: the last two rows are swapped, so four of six have the same best value."""
    reference = [{"hidden": np.eye(6, dtype=np.float32).reshape(2, 3, 6)}]
    swapped = [{"hidden": np.eye(6, dtype=np.float32)[[0, 1, 2, 3, 5, 4]].reshape(2, 3, 6)}]
    parity = compare(swapped, reference, Tolerance(), classes=True)
    assert (parity.top1, parity.cosine, parity.max_abs) == (pytest.approx(4 / 6), 0.0, 1.0)


def test_a_row_may_be_the_only_one_of_its_case():
    """A text of one token: its output has the shape 1, 1, 4 and is a row, not a single value."""
    reference = [{"logits": np.eye(4)[None, None, at]} for at in (0, 1)]
    wrong = [reference[0], {"logits": np.eye(4)[None, None, 2]}]
    parity = compare(wrong, reference, Tolerance(), classes=True)
    assert (parity.top1, parity.cosine) == (0.5, 0.0)


def test_single_values_of_different_outputs_are_not_joined():
    """Joined with large scores, wrong small scores would hardly change the cosine."""
    reference = [{"large": np.array([[1e6]]), "small": np.array([[value]])} for value in (1.0, -1.0)]
    outputs = [{**each, "small": -each["small"]} for each in reference]
    assert compare(outputs, reference, Tolerance(), classes=True).cosine == -1.0


def test_single_values_are_joined_over_the_cases():
    """A single score has no useful cosine. Two scores have one, which shows that their order is swapped."""
    reference = [{"logits": np.array([[value]], np.float32)} for value in (5.0, -3.0, 1.0)]
    swapped = [reference[1], reference[0], reference[2]]
    lenient = Tolerance(cosine=0.99, top1=1.0)
    assert compare(reference, reference, lenient, classes=True).passed
    (failure,) = compare(swapped, reference, lenient, classes=True).failures
    assert "cosine is -0.8" in failure
