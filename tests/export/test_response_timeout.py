"""An archive's response timeout is the same at each build, grows with the work, and has limits."""

from dataclasses import replace

import pytest

from export.response_timeout import MOST_S, operations, response_timeout_s
from handlers.settings import Settings, TensorSpec, TextInput


@pytest.fixture(scope="module")
def network():
    """A function from a number of channels to (a network with one matrix product per token, its settings)."""
    import torch

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(10, 100)
            self.linear = torch.nn.Linear(100, 1000)

        def forward(self, ids, mask):
            return self.linear(self.embedding(ids)) * mask[..., None]

    inputs = tuple(TensorSpec(name, ("batch", "tokens"), "int64") for name in ("input_ids", "attention_mask"))
    text = TextInput(max_length=50, pad_id=0, vocabulary=10, max_chars=1, max_total_chars=1)
    return Network(), Settings("m", "v", "t", "cpu", "eager", "w", inputs, (), text=text)


def test_the_work_of_the_longest_text_is_counted(network):
    assert operations(*network) == 2 * 50 * 100 * 1000


def test_the_timeout_grows_with_the_largest_request_in_whole_minutes_between_its_limits(network):
    module, settings = network
    seconds = [response_timeout_s(module, replace(settings, max_items=n), 60) for n in (1, 64, 10**5, 10**9)]
    assert seconds == [60, 60, 120, MOST_S]
    assert response_timeout_s(module, settings, 90) == 90
    assert response_timeout_s(module, replace(settings, device="gpu", max_items=10**9), 60) == 60
