"""KServe's official client, unchanged, gets the answers of /predictions over v1, v2 and gRPC: the golden cases of
NAMES. It needs an older protobuf than this project, and 450 MB; so it needs a separate environment (docs/api.md)."""

import base64
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.serving.open_inference import NAMES, as_served

PYTHON = os.environ.get("KSERVE_PYTHON", "")
pytestmark = [
    pytest.mark.served,
    pytest.mark.skipif(not PYTHON, reason="KSERVE_PYTHON names no Python with kserve (docs/api.md)"),
]


def columns(answer):
    """The answer of /predictions to several items, as the expected tensors."""
    if "embeddings" in answer:
        return {"embedding": answer["embeddings"]}
    rows = answer["predictions"]
    return {name: [[each[name] for each in row] for row in rows] for name in rows[0][0]}


def test_the_golden_cases(served):
    assert Path(PYTHON).is_file(), f"KSERVE_PYTHON={PYTHON} is no file"
    cases, expected = [], []
    for name in NAMES:
        key, values = as_served(name)
        words = [base64.b64encode(each).decode() if key == "image" else each.decode() for each in values]
        reply = served.client.predict(name, json.dumps({key: words}).encode(), "application/json").json()
        expected.append(reply)
        inputs = {key: [base64.b64encode(each).decode() for each in values]}
        cases.append({"model": name, "inputs": inputs, "instances": words})
    addresses = served.config.inference, f"127.0.0.1:{served.config.properties['grpc_inference_port']}"
    command = [PYTHON, str(ROOT / "tests/serving/kserve_caller.py"), *addresses, served.client.token()]
    done = subprocess.run(command, input=json.dumps(cases), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for case, answers, reply in zip(cases, json.loads(done.stdout), expected, strict=True):
        (v1,) = (answers.pop("v1"),)
        assert_same(v1, next(iter(reply.values())), case)
        for how, found in answers.items():
            wanted = columns(reply)
            assert {name: found[name] for name in wanted}.keys() == wanted.keys()
            for name, values in wanted.items():
                assert_same(found[name], values, (case["model"], how, name))


def assert_same(found, wanted, where):
    if isinstance(wanted, list):
        assert len(found) == len(wanted), where
        for one, other in zip(found, wanted, strict=True):
            assert_same(one, other, where)
    elif isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), where
        for name, value in wanted.items():
            assert_same(found[name], value, where)
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=1e-3, abs=1e-5), where
    else:
        assert np.all(found == wanted), where
