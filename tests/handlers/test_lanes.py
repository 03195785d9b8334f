"""Concurrent forward passes: their order, their shares of the threads, and the limit on memory."""

import threading
import time

import numpy as np
import pytest
import torch

from handlers.budget import Budget
from handlers.errors import Busy
from handlers.forward import Passes, Split
from handlers.lanes import Lanes, lanes
from handlers.runtimes.torch_module import SharedModule

ROWS = np.arange(12, dtype=np.float32).reshape(6, 2)
PIECES = [np.array([0]), np.array([1, 2, 3]), np.array([4, 5])]


class Doubles:
    """A runtime that records the size and the threads of each pass, in the order of their starts."""

    def __init__(self, together=1):
        self.seen, self._together = [], threading.Barrier(together)

    def __call__(self, rows):
        return {"twice": 2 * rows}

    def on(self, threads, rows):
        self.seen.append((len(rows), threads))
        self._together.wait(20)
        return self(rows)


class Service(Passes):
    """A service that splits its rows into PIECES."""

    def __init__(self, runtime, threads, small=True):
        super().__init__()
        self.runtime, self.lanes, self._small = runtime, lanes(runtime, threads), small

    def split(self, inputs):
        return Split(PIECES, small=self._small)


def test_passes_run_at_the_same_time_and_are_answered_in_order():
    runtime = Doubles(together=3)
    found = Service(runtime, 3).forward((ROWS,))
    assert (found["twice"] == 2 * ROWS).all()
    assert sorted(runtime.seen) == [(1, 1), (2, 1), (3, 1)]


def test_the_longest_begins_first_and_fewer_passes_have_more_threads():
    runtime = Doubles()
    Lanes(runtime, 1).run([(ROWS[piece],) for piece in PIECES])
    assert [size for size, _ in runtime.seen] == [3, 2, 1]
    wide = Doubles()
    Lanes(wide, 8).run([(ROWS[piece],) for piece in PIECES])
    assert {threads for _, threads in wide.seen} == {2}


@pytest.mark.parametrize(("threads", "small"), [(1, True), (3, False)])
def test_one_thread_or_large_pieces_run_one_after_the_other(threads, small):
    runtime = Doubles(together=3)  # a test with concurrent passes would hang
    assert (Service(runtime, threads, small).forward((ROWS,))["twice"] == 2 * ROWS).all()
    assert runtime.seen == []


def test_a_runtime_that_only_one_thread_may_call_has_no_lanes():
    assert lanes(lambda rows: {"twice": 2 * rows}, 4) is None


def test_an_error_is_raised_after_all_passes_have_ended():
    class Fails(Doubles):
        def on(self, threads, rows):
            found = super().on(threads, rows)
            if len(rows) == 3:
                raise ValueError("three")
            time.sleep(0.2 * len(rows))  # the last pass ends well after the one that fails
            ended.append(len(rows))
            return found

    ended = []
    with pytest.raises(ValueError, match="three"):
        Service(Fails(together=3), 3).forward((ROWS,))
    assert sorted(ended) == [1, 2]


def test_passes_that_would_end_too_late_do_not_begin():
    runtime = Doubles()
    service = Service(runtime, 3)
    service.budget = Budget(timeout_s=1.0)
    service.budget.rate = 1.0
    with service.budget.batch(0.0), pytest.raises(Busy):
        service.forward((ROWS,))
    assert runtime.seen == []


class Notes(torch.nn.Module):
    """A module that doubles its input and records its number of intra-op threads."""

    def __init__(self):
        super().__init__()
        self.threads = []

    def forward(self, rows):
        self.threads.append(torch.get_num_threads())
        return 2 * rows


def test_a_torch_module_has_one_thread_in_a_lane_and_all_of_them_alone():
    before, module = torch.get_num_threads(), Notes()
    runtime = SharedModule(module, ["twice"], threads=before + 3)
    try:
        for _ in range(5):
            assert (Service(runtime, 3).forward((ROWS,))["twice"] == 2 * ROWS).all()
            assert (runtime(ROWS)["twice"] == 2 * ROWS).all()
        assert module.threads == 5 * [1, 1, 1, before + 3]
    finally:
        torch.set_num_threads(before)
