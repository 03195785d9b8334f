"""Every task in tensors through a real TorchServe: over REST, over gRPC raw and typed, and by this project's client
over both, the answers are those of /predictions."""

import json

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.http as triton_http
from tritonclient.grpc.service_pb2 import ModelInferRequest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from tests.serving.open_inference import tensor, texts_of
from tests.serving.task_cases import CASES, server
from tests.serving.test_open_inference_grpc import typed, values_of
from tsi_client import Client
from tsi_client.grpc import GrpcClient

pytestmark = pytest.mark.served


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with server(tmp_path_factory.mktemp("tasks")) as made:
        yield made


@pytest.fixture(scope="module")
def address(place):
    return f"127.0.0.1:{place.config.properties['grpc_inference_port']}"


@pytest.fixture
def token(place):
    return place.client.token()


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


@pytest.fixture
def expected(place, case):
    reply = place.client.predict(case.archive, json.dumps(case.body()).encode(), "application/json")
    assert reply.status_code == 200, reply.text
    found = case.columns(reply.json())
    assert all(array.size for array in found.values())
    return found


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].size == values.size, name
        if values.dtype.kind == "f":
            assert found[name].ravel() == pytest.approx(values.ravel(), rel=1e-3, abs=1e-5), name
        else:
            assert texts_of(found[name]) == values.ravel().tolist(), name


def test_over_rest(place, case, expected, token):
    with triton_http.InferenceServerClient(place.config.inference.removeprefix("http://")) as client:
        given = [tensor(triton_http, name, list(values)) for name, values in case.inputs.items()]
        access = {"Authorization": f"Bearer {token}"}
        answer = client.infer(case.archive, given, parameters=dict(case.parameters), headers=access)
    names = [each["name"] for each in answer.get_response()["outputs"]]
    assert_same({name: answer.as_numpy(name) for name in names}, expected)


def test_over_grpc(address, case, expected, token):
    with triton.InferenceServerClient(address) as client:
        given = [tensor(triton, name, list(values)) for name, values in case.inputs.items()]
        access = {"authorization": f"Bearer {token}"}
        answer = client.infer(case.archive, given, parameters=dict(case.parameters), headers=access)
    assert_same({each.name: answer.as_numpy(each.name) for each in answer.get_response().outputs}, expected)


def test_over_grpc_in_typed_contents(address, case, expected, token):
    inputs = [typed(name, "BYTES", [len(values)], [each if isinstance(each, bytes) else each.encode()
              for each in values]) for name, values in case.inputs.items()]  # fmt: skip
    request = ModelInferRequest(model_name=case.archive, inputs=inputs)
    for name, value in case.parameters.items():
        kind = "string_param" if isinstance(value, str) else "int64_param"
        setattr(request.parameters[name], kind, value)
    with grpc.insecure_channel(address) as channel:
        stub = GRPCInferenceServiceStub(channel)
        answer = stub.ModelInfer(request, metadata=[("authorization", f"Bearer {token}")], timeout=60)
    assert not answer.raw_output_contents
    assert_same({each.name: values_of(each) for each in answer.outputs}, expected)


def test_by_the_projects_client_over_both(place, address, case, expected, token):
    for client in (Client(place.config.inference, token), GrpcClient(f"http://{address}", token)):
        with client:
            given = {name: list(values) for name, values in case.inputs.items()}
            found = client.infer(case.archive, given, parameters=dict(case.parameters))
            assert_same(found, expected)
            described = {each["name"]: each for each in client.metadata(case.archive)["outputs"]}
            assert {name: len(described[name]["shape"]) for name in found} == {
                name: np.ndim(array) for name, array in found.items()
            }
