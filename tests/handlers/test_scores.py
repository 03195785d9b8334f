"""The likeliest classes with their softmax probabilities, from the logits or from the maximum and sum of each tile."""

import numpy as np
import pytest

from handlers.scores import TILE, best, best_by_tiles


def tiles_of(logits):
    padded = np.pad(logits, (0, -len(logits) % TILE), constant_values=-np.inf).reshape(-1, TILE)
    tops = padded.max(1)
    return tops, np.exp(padded - tops[:, None]).sum(1)


def softmax(logits):
    exponentials = np.exp(logits.astype(np.float64) - logits.max())
    return exponentials / exponentials.sum()


def by_tiles(logits, count):
    return best_by_tiles(logits[None], *(each[None] for each in tiles_of(logits)), count)[0]


def plain(logits, count):
    return best(logits[None], count)[0]


@pytest.mark.parametrize("rank", [plain, by_tiles])
@pytest.mark.parametrize("classes", [1, 3, 64, 65, 1000, 30522])
@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_the_likeliest_come_first_with_their_probabilities(rank, classes, scale):
    logits = np.random.default_rng(classes).normal(0, scale, classes).astype(np.float32)
    found = rank(logits, 5)
    expected = np.argsort(-logits)[:5]
    assert [index for index, _ in found] == expected.tolist()
    assert [score for _, score in found] == pytest.approx(softmax(logits)[expected].tolist(), rel=1e-4)


@pytest.mark.parametrize("rank", [plain, by_tiles])
def test_the_best_may_share_a_tile_or_lie_in_the_last_one(rank):
    logits = np.zeros(100, dtype=np.float32)
    logits[[70, 71, 99, 3, 98]] = [9, 8, 7, 6, 5]
    assert [index for index, _ in rank(logits, 5)] == [70, 71, 99, 3, 98]
