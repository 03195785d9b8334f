"""The likeliest classes with their softmax probabilities, from the logits or as a runtime ranked them."""

import numpy as np
import pytest

from handlers.scores import BEST, FEW, best, likeliest


def softmax(logits):
    exponentials = np.exp(logits.astype(np.float64) - logits.max())
    return exponentials / exponentials.sum()


@pytest.mark.parametrize("count", [1, 5, FEW, 100])
@pytest.mark.parametrize("classes", [1, 3, 64, 65, 1000, 30522])
@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_the_likeliest_come_first_with_their_probabilities(count, classes, scale):
    """Beside another row, whose likeliest are others."""
    logits = np.random.default_rng(classes).normal(0, scale, classes).astype(np.float32)
    _, found = best(np.stack([logits[::-1], logits]), count)
    expected = np.argsort(-logits)[:count]
    assert len(found) == min(count, classes)
    assert [index for index, _ in found] == expected.tolist()
    assert [score for _, score in found] == pytest.approx(softmax(logits)[expected].tolist(), rel=1e-4)


def test_what_the_runtime_ranked_is_taken_as_far_as_it_goes():
    logits = np.random.default_rng(0).normal(0, 1, (2, 100)).astype(np.float32)
    classes, scores = np.array([[7, 9], [3, 4]]), np.array([[0.5, 0.25], [0.75, 0.125]])
    outputs = {"logits": logits, BEST[0]: classes, BEST[1]: scores}
    assert likeliest(outputs, 1) == [[(7, 0.5)], [(3, 0.75)]]
    assert likeliest(outputs, 2) == [[(7, 0.5), (9, 0.25)], [(3, 0.75), (4, 0.125)]]
    assert likeliest(outputs, 3) == best(logits, 3)
    assert likeliest({**outputs, "logits": logits[:, :2]}, 3) == likeliest(outputs, 2)  # there are no more classes
