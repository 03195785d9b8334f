"""KServe's official client, unchanged, in its four ways; run by the Python of an environment that has it.

Takes the addresses of HTTP and gRPC and a token. Reads cases as JSON: {"model", "inputs": {name: [base64]},
"instances"}. Prints, for each, the outputs of v2 over REST in JSON and in bytes and over gRPC, and v1's predictions.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from typing import Any

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

http, grpc, token = sys.argv[1:4]
ACCESS = {"Authorization": f"Bearer {token}"}
METADATA = [("authorization", f"Bearer {token}")]


def request(case: dict[str, Any], binary: bool) -> InferRequest:
    """The case in tensors; values that are not UTF-8 go into JSON as base64."""
    inputs = []
    for name, values in case["inputs"].items():
        elements = [base64.b64decode(each) for each in values]
        if not binary and name == "image":
            elements = [each.encode() for each in values]
        made = InferInput(name, [len(elements)], "BYTES")
        made.set_data_from_numpy(np.array(elements, dtype=object), binary_data=binary)
        inputs.append(made)
    return InferRequest(case["model"], inputs)


def outputs(answer: Any) -> dict[str, Any]:
    """An answer's tensors as lists."""
    found = {each.name: each.as_numpy() for each in answer.outputs}
    as_text = np.vectorize(lambda each: each.decode() if isinstance(each, bytes) else each, otypes=[object])
    return {name: (as_text(array) if array.dtype == object else array).tolist() for name, array in found.items()}


async def ask(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The answers to each case."""
    v1, v2 = (InferenceRESTClient(RESTConfig(protocol=each)) for each in ("v1", "v2"))
    async with InferenceGRPCClient(grpc) as calls, v1, v2:
        assert await v2.is_server_live(http, headers=ACCESS) and await v2.is_server_ready(http, headers=ACCESS)
        assert await calls.is_server_live(headers=METADATA) and await calls.is_server_ready(headers=METADATA)
        found = []
        for case in cases:
            name = case["model"]
            assert await v2.is_model_ready(http, name, headers=ACCESS)
            assert await calls.is_model_ready(name, headers=METADATA)
            found.append({
                "json": outputs(await v2.infer(http, request(case, False), name, headers={**ACCESS})),
                "bytes": outputs(await v2.infer(http, request(case, True), name, headers={**ACCESS})),
                "grpc": outputs(await calls.infer(request(case, True), headers=METADATA)),
                "v1": (await v1.infer(http, {"instances": case["instances"]}, name, headers=ACCESS))["predictions"],
            })  # fmt: skip
        return found


print(json.dumps(asyncio.run(ask(json.load(sys.stdin)))))
