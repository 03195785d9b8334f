"""A GPU whose memory another process takes: only the request that does not fit fails, and the worker survives."""

import json

import pytest

from export.device import gpu_count
from tests.conftest import run
from tests.trust.figures import record
from tests.trust.place import place

pytestmark = [
    pytest.mark.served,
    pytest.mark.gpu,
    pytest.mark.skipif(gpu_count() == 0, reason="no CUDA device here"),
]
NAME = "bert-eager"
LEFT = 300 << 20  # bytes: a short text's activations fit beside cuBLAS's workspace, those of 64 long texts do not


def test_a_request_that_does_not_fit_the_gpus_memory_fails_alone(tmp_path):
    import torch

    built = run("export", MODELS="bert", VARIANTS="eager", DEVICE="gpu", WEIGHTS="random", MODEL_STORE=str(tmp_path))
    assert built.returncode == 0, built.stdout + built.stderr
    small = json.dumps({"text": "Paris is the [MASK] of France."}).encode()
    large = json.dumps({"text": ["Paris is the [MASK] of France. " + "And so on. " * 120] * 64}).encode()
    with place(tmp_path / "place", tmp_path, [NAME]) as server:
        server.serve(DEVICE="gpu")
        client, worker = server.client, server.worker(NAME)

        def ask(body):
            return client.predict(NAME, body, "application/json")

        before = ask(small)
        free, _ = torch.cuda.mem_get_info()
        hog = torch.empty(free - LEFT, dtype=torch.uint8, device="cuda")
        refused, beside = ask(large), ask(small)
        del hog
        torch.cuda.empty_cache()
        afterwards = ask(large)
        record("gpu_out_of_memory", left_mib=LEFT >> 20, refused=[refused.status_code, refused.json()["message"]],
               small_beside=beside.status_code, large_afterwards=afterwards.status_code,
               worker_lived=server.worker(NAME) == worker)  # fmt: skip
        assert refused.status_code == 503 and refused.json()["type"] == "OutOfMemory"
        assert beside.status_code == 200 and beside.json() == before.json()
        assert afterwards.status_code == 200 and len(afterwards.json()["predictions"]) == 64
        assert server.worker(NAME) == worker
