"""Scores of logits, and the likeliest classes with their probabilities, from logits or from a runtime's ranking."""

import numpy as np
import pytest
import torch

from handlers.errors import RequestError
from handlers.runtimes.cuda_graph import OutputsOnDemand
from handlers.scores import BEST, FEW, SHOWN, best, label_index, likeliest, ranked, scored


def softmax(logits):
    exponentials = np.exp(logits.astype(np.float64) - logits.max())
    return exponentials / exponentials.sum()


@pytest.mark.parametrize("count", [1, 5, FEW, 100])
@pytest.mark.parametrize("classes", [1, 3, 64, 65, 1000, 30522])
@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_the_likeliest_come_first_with_their_probabilities(count, classes, scale):
    """The batch also has a row with other likeliest classes."""
    logits = np.random.default_rng(classes).normal(0, scale, classes).astype(np.float32)
    _, found = best(np.stack([logits[::-1], logits]), count)
    expected = np.argsort(-logits)[:count]
    assert len(found) == min(count, classes)
    assert [index for index, _ in found] == expected.tolist()
    assert [score for _, score in found] == pytest.approx(softmax(logits)[expected].tolist(), rel=1e-4)


def test_the_runtimes_ranking_is_used_if_it_is_long_enough():
    logits = np.random.default_rng(0).normal(0, 1, (2, 100)).astype(np.float32)
    classes, scores = np.array([[7, 9], [3, 4]]), np.array([[0.5, 0.25], [0.75, 0.125]])
    outputs = {"logits": logits, BEST[0]: classes, BEST[1]: scores}
    assert likeliest(outputs, 1) == [[(7, 0.5)], [(3, 0.75)]]
    assert likeliest(outputs, 2) == [[(7, 0.5), (9, 0.25)], [(3, 0.75), (4, 0.125)]]
    assert likeliest(outputs, 3) == best(logits, 3)
    assert likeliest({**outputs, "logits": logits[:, :2]}, 3) == likeliest(outputs, 2)  # there are no more classes


def test_logits_on_a_gpu_are_read_only_where_more_classes_are_wanted_than_are_ranked():
    class Logits(torch.Tensor):
        copies = 0

        def cpu(self):
            Logits.copies += 1
            return super().cpu()

    logits = torch.tensor([[1.0, 3.0, 2.0]]).as_subclass(Logits)
    outputs = OutputsOnDemand({"logits": logits}, {BEST[0]: np.array([[1]]), BEST[1]: np.array([[0.7]])})
    assert list(outputs) == ["logits", *BEST] and len(outputs) == 3 and "logits" in outputs and "other" not in outputs
    assert likeliest(outputs, 1) == [[(1, 0.7)]] and Logits.copies == 0
    assert likeliest(outputs, 2) == best(np.array([[1.0, 3.0, 2.0]], np.float32), 2)
    assert outputs["logits"].tolist() == [[1.0, 3.0, 2.0]] and Logits.copies == 1


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5)])
def test_softmax_scores_are_shares_of_each_row(shape):
    logits = np.random.default_rng(1).normal(0, 5, shape)
    found = scored(logits, "softmax")
    expected = np.apply_along_axis(softmax, -1, logits)
    assert found.shape == shape and found == pytest.approx(expected, rel=1e-12)
    assert found.sum(axis=-1) == pytest.approx(np.ones(shape[:-1]))


def test_sigmoid_scores_are_each_logits_own():
    logits = np.array([[-2.0, -0.5, 0.0, 0.5, 3.0]])
    assert scored(logits, "sigmoid") == pytest.approx(1 / (1 + np.exp(-logits)), rel=1e-12)


@pytest.mark.parametrize(
    ("function", "scores"), [("softmax", [[0, 0, 1]]), ("sigmoid", [[0, 0.5, 1]]), ("none", [[-1000, 0, 1000]])]
)
def test_scores_of_large_logits_do_not_overflow(function, scores):
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert scored(np.array([[-1000.0, 0.0, 1000.0]]), function).tolist() == scores


@pytest.mark.parametrize("count", [2, FEW + 1])
def test_a_row_is_scored_by_its_own_largest_logit(count):
    """The batch also has a row with logits that are larger by thousands."""
    logits = np.arange(20.0)[None] + [[0.0], [5000.0]]
    alone = softmax(logits[0])
    assert scored(logits, "softmax") == pytest.approx(np.stack([alone, alone]))
    for row in best(logits, count):
        assert [score for _, score in row] == pytest.approx(alone[::-1][:count].tolist())


def test_scores_are_ranked_best_first_and_equal_ones_in_their_order():
    scores = np.array([0.25, 0.5, 0.25, 0.75] + [0.5] * 20)
    found = ranked(scores)
    assert found[:3] == [(3, 0.75), (1, 0.5), (4, 0.5)] and found[-2:] == [(0, 0.25), (2, 0.25)]
    assert [index for index, score in found if score == 0.5] == [1, *range(4, 24)]


def test_the_index_of_a_label_or_of_the_best_score():
    labels, scores = ["cat", "dog", "cow"], np.array([0.2, 0.7, 0.1])
    assert label_index("cow", labels, scores) == 2
    assert label_index(None, labels, scores) == 1 and type(label_index(None, labels, scores)) is int


@pytest.mark.parametrize(("count", "more"), [(SHOWN, ""), (SHOWN + 1, " and 1 more")])
def test_an_unknown_label_is_refused_with_the_known_ones(count, more):
    labels = [f"label {at}" for at in range(count)]
    with pytest.raises(RequestError) as refused:
        label_index("horse", labels, np.zeros(count))
    known = ", ".join(labels[:SHOWN])
    assert str(refused.value) == f'"target" is no label of this model; its labels are {known}{more}.'


@pytest.mark.parametrize("count", [3, FEW + 1])
def test_the_probabilities_of_large_logits_do_not_overflow(count):
    logits = np.full((1, 20), -1000.0)
    logits[0, 7], logits[0, 2] = 1000.0, 999.0
    with np.errstate(over="raise", invalid="raise"):
        ((first, second, *_),) = best(logits, count)
    assert (first[0], second[0]) == (7, 2) and second[1] / first[1] == pytest.approx(np.exp(-1))
