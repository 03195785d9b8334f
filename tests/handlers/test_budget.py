"""The worker's time budget: which requests it admits, refuses and stops, so that TorchServe never kills it."""

import json
import math
import time

import numpy as np
import pytest

from handlers.admission import refusals
from handlers.batch import Batch
from handlers.budget import Budget
from handlers.errors import Busy, TooLarge
from handlers.forward import Split, in_pieces, pieces
from handlers.runtimes import Outputs
from handlers.service import Service
from handlers.settings import Settings, TensorSpec
from tests.handlers.test_service import Context


def known(timeout_s=60.0, rate=0.01):
    budget = Budget(timeout_s)
    budget.rate = rate
    return budget


def test_the_cheapest_requests_run_and_the_others_get_a_time_to_try_again():
    """There is time for 30 seconds, which are 3,000 units."""
    found = refusals([2500, 100, 1000, 3001], known(), "tokens")
    assert found[1] is None and found[2] is None
    assert isinstance(found[0], Busy) and (found[0].status, found[0].retry_after_s) == (503, 11)
    assert isinstance(found[3], TooLarge) and "3001 tokens" in str(found[3]) and "accepts 3000 in one" in str(found[3])


def test_no_request_is_refused_before_a_pass_was_timed_or_without_a_timeout():
    assert refusals([10**9], Budget(60), "tokens") == [None]
    assert refusals([10**9], known(math.inf), "tokens") == [None]


def test_an_estimate_falls_at_once_rises_slowly_and_ignores_short_passes():
    budget = Budget(60, least=64)
    budget.learn(10, 5)
    assert budget.rate == 0
    for seconds in (6.4, 0.64):
        budget.learn(64, seconds)
    assert budget.rate == pytest.approx(0.01)
    budget.learn(64, 0.64 * 5)
    assert budget.rate == pytest.approx(0.02)


def test_the_estimate_falls_after_refusals():
    budget = known(rate=1.0)
    for _ in range(20):
        refusals([200], budget, "tokens")
    assert refusals([200], budget, "tokens") == [None]


def test_a_pass_that_would_end_too_late_does_not_begin_but_a_short_one_may():
    budget = known(timeout_s=10, rate=0.01)
    budget.check(10**6)  # outside of a batch nothing is refused
    with budget.batch(time.perf_counter() - 7):
        budget.check(10)
        with pytest.raises(Busy):
            budget.check(100)
        with pytest.raises(Busy):
            budget.check_reading()
        budget.extend()
        budget.check(100)
        budget.check_answering()
    with budget.batch(time.perf_counter() - 9.5), pytest.raises(Busy):
        budget.check_answering()


def test_pieces_are_bounded_in_rows_and_padded_tokens():
    lengths = np.array([500] * 9 + [10] * 70 + [5000])
    groups = [np.arange(9, 79), np.arange(9), np.array([79])]
    found = pieces(groups, lengths, 2048, 64)
    assert [len(rows) for rows in found] == [64, 6, 4, 4, 1, 1]
    assert sorted(np.concatenate(found)) == list(range(80))


def test_images_in_pieces_are_answered_in_order():
    pixels = np.arange(10, dtype=np.float32).reshape(10, 1, 1, 1)
    split = Split([np.arange(4), np.arange(4, 10)])
    found = in_pieces(lambda parts: ({"logits": part.reshape(-1, 1) * 2} for (part,) in parts), (pixels,), split)
    assert found["logits"][:, 0].tolist() == [2.0 * n for n in range(10)]


class Sleeps(Service):
    """A service in which a unit of cost takes 10 ms. Items run one by one."""

    def read(self, payload):
        return list(payload.items)

    def collate(self, items):
        return Batch((np.array([[item] for item in items]),))

    def costs(self, inputs):
        return inputs[0][:, 0]

    def cost(self, inputs):
        return int(inputs[0].sum())

    def split(self, inputs):
        return Split([np.array([row]) for row in range(len(inputs[0]))])

    def runtime(self, values) -> Outputs:
        time.sleep(self.per_unit * float(values.sum()))
        return {"value": values.astype(np.float32)}

    def answer(self, batch, index, outputs, options):
        return int(outputs["value"][index][0])


@pytest.fixture
def service(tmp_path):
    made = Sleeps()
    made.directory, made.per_unit = tmp_path, 0.01
    made.settings = Settings("m", "v", "t", "cpu", "eager", "w", (), (TensorSpec("value", ("batch", 1)),), max_items=99)
    made.budget = known(timeout_s=2, rate=0.01)
    return made


def ask(service, *items):
    context = Context(len(items))
    bodies = [{"body": json.dumps({"text": item}).encode()} for item in items]
    replies = [json.loads(reply) for reply in service.handle(bodies, context)]
    return replies, context


@pytest.mark.alone
def test_a_batch_that_would_take_too_long_is_answered_in_part(service):
    """There is time for one second. The batch would take 1.6 s, and one request alone 2 s."""
    replies, context = ask(service, [20], [80], [1], [200], [5])
    assert context.status == [200, 503, 200, 413, 200]
    assert replies[0] == {"predictions": [20]} and replies[2] == {"predictions": [1]}
    assert context.out[1]["Retry-After"] == "1" and "Retry-After" not in context.out[0]


@pytest.mark.alone
def test_a_worker_that_has_become_slower_stops_in_time_and_corrects_its_estimate(service):
    """The estimate is a tenth of the real time. The long request is stopped and refused; the others are answered."""
    service.budget.rate = 0.001
    began = time.perf_counter()
    replies, context = ask(service, [3], [30] * 20, [4])
    assert time.perf_counter() - began < 2 * 0.95
    assert context.status == [200, 413, 200] and replies[2] == {"predictions": [4]}
    began = time.perf_counter()
    assert ask(service, [30] * 20)[1].status == [413] and time.perf_counter() - began < 1
