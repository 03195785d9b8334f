"""Retries, deadlines, tokens and errors of both gRPC clients, against a scripted server."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

import tsi_client
from tests.client.scripted_grpc import answers, refuses, scripted, stalls
from tests.serving.test_tls import write_certificate
from tsi_client import KeyFile, Reply
from tsi_client.grpc import AsyncGrpcClient, GrpcClient
from tsi_client.grpc.messages import CLASSES, inference, read_tensors

READY = answers(CLASSES["Readiness"](ready=True).SerializeToString())
GOOD = answers(CLASSES["Metadata"](name="m", platform="eager").SerializeToString())
FULL = refuses("UNAVAILABLE", "The queue is full", retry_after="1")
REFUSED = refuses("UNAUTHENTICATED", "Token Authorization failed")
ANSWER = {"name": "m", "versions": [], "platform": "eager", "inputs": [], "outputs": []}


def waiting(url, token=None, call="metadata", arguments=("m",), **settings):
    with GrpcClient(url, token, **settings) as client:
        return getattr(client, call)(*arguments)


def awaiting(url, token=None, call="metadata", arguments=("m",), **settings):
    async def ask():
        async with AsyncGrpcClient(url, token, **settings) as client:
            return await getattr(client, call)(*arguments)

    return asyncio.run(ask())


@pytest.fixture(params=[waiting, awaiting], ids=["sync", "async"])
def ask(request):
    return request.param


def test_a_full_server_is_retried_after_its_retry_after(ask):
    with scripted(FULL, GOOD) as server:
        began = time.monotonic()
        assert ask(server.url) == ANSWER
        assert time.monotonic() - began >= 1 and len(server.calls) == 2


def test_a_server_that_stays_full_raises_its_message(ask):
    with scripted(FULL) as server:
        for settings in ({"retries": 0}, {"timeout": 0.9}):
            with pytest.raises(tsi_client.Overloaded) as refused:
                ask(server.url, **settings)
        assert (refused.value.status, refused.value.message, refused.value.retry_after) == (503, "The queue is full", 1)
        assert len(server.calls) == 2


def test_unavailable_of_the_library_is_a_failed_connection_and_is_retried(ask):
    with scripted(refuses("UNAVAILABLE", "Socket closed"), GOOD) as server:
        assert ask(server.url) == ANSWER
        with pytest.raises(tsi_client.ConnectionFailed, match=r"No answer from http://127\.0\.0\.1:9 .*refused"):
            ask("http://127.0.0.1:9", retries=1)


def test_a_retry_finds_a_server_that_has_started_meanwhile(ask):
    with scripted(GOOD) as gone:
        pass
    with pytest.raises(tsi_client.ConnectionFailed):
        ask(gone.url, retries=0)
    port = gone.url.rpartition(":")[2]
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(ask, gone.url, retries=4)
        time.sleep(0.5)
        server = grpc.server(ThreadPoolExecutor(1), handlers=(gone,))
        assert server.add_insecure_port(f"127.0.0.1:{port}")
        server.start()
        assert found.result(60) == ANSWER
        server.stop(0)


def test_a_call_ends_at_its_deadline(ask):
    with scripted(stalls) as server:
        began = time.monotonic()
        with pytest.raises(tsi_client.Timeout, match=r"within 0\.5 s"):
            ask(server.url, timeout=0.5)
        assert 0.5 <= time.monotonic() - began < 10 and len(server.calls) == 1
    with scripted(FULL, stalls) as server:
        with pytest.raises(tsi_client.Timeout):
            ask(server.url, timeout=2.5)
        assert len(server.calls) == 2


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [
        ("INVALID_ARGUMENT", 400, tsi_client.BadRequest), ("UNAUTHENTICATED", 401, tsi_client.Unauthorized),
        ("PERMISSION_DENIED", 403, tsi_client.Unauthorized), ("NOT_FOUND", 404, tsi_client.NotFound),
        ("RESOURCE_EXHAUSTED", 413, tsi_client.TooLarge), ("INTERNAL", 500, tsi_client.ServerError),
        ("UNKNOWN", 500, tsi_client.ServerError), ("UNIMPLEMENTED", 501, tsi_client.ServerError),
    ],
)  # fmt: skip
def test_each_status_has_the_error_of_http(ask, name, status, kind):
    with scripted(refuses(name, "Said")) as server:
        with pytest.raises(kind) as failed:
            ask(server.url)
        assert type(failed.value) is kind and str(failed.value) == f"{status}: Said" and len(server.calls) == 1


def test_an_unexpected_body_is_an_error(ask):
    with scripted(answers(b"<html>")) as server:
        for call, arguments in (("metadata", ("m",)), ("infer", ("m", {"x": [1]})), ("ready", ())):
            with pytest.raises(tsi_client.BadAnswer, match="no message of the Open Inference Protocol"):
                ask(server.url, call=call, arguments=arguments)


def test_a_token_file_is_read_again_when_its_token_is_refused(ask, tmp_path):
    path = tmp_path / "token"
    path.write_text("first\n")

    def replaces(context):
        path.write_text("second\n")
        return REFUSED(context)

    with scripted(replaces, GOOD, REFUSED) as server:
        assert ask(server.url, path) == ANSWER
        with pytest.raises(tsi_client.Unauthorized, match="401: Token Authorization failed"):
            ask(server.url, path)  # the file has no other token
        assert server.tokens() == ["first", "second", "second"]
    with pytest.raises(tsi_client.TokenError, match="There is no key file at"):
        ask("http://127.0.0.1:9", KeyFile(tmp_path / "none.json"))


def test_not_ready_is_false_and_no_error(ask):
    with scripted(READY, answers(b""), FULL) as server:
        assert [ask(server.url, call="ready", arguments=each) for each in (("m",), (), ("m",))] == [True, False, False]
        assert [method for method, _ in server.calls] == ["ModelReady", "ServerReady", "ModelReady"]


def test_tensors_come_back_as_they_were_sent(tmp_path):
    (tmp_path / "a.png").write_bytes(b"PNG\0")
    given = {
        "floats": np.arange(6, dtype=">f4").reshape(2, 3), "ids": [[1, 2], [3, 4]], "flags": np.array([True, False]),
        "text": np.array([["é", "b"]]), "image": [tmp_path / "a.png", b"PNG\0"], "one": "only",
    }  # fmt: skip
    options = {"top_k": 1, "kind": "a", "exact": False, "at": 0.5}
    asked = CLASSES["InferRequest"].FromString(inference("m", given, ["x"], "2", options, None).content)
    assert (asked.model_name, asked.model_version, [each.name for each in asked.outputs]) == ("m", "2", ["x"])
    sent = {each.key: [value for _, value in each.value.ListFields()] for each in asked.parameters}
    assert sent == {"top_k": [1], "kind": ["a"], "exact": [False], "at": [0.5]}
    reply = CLASSES["InferResponse"](outputs=asked.inputs, raw_output_contents=asked.raw_input_contents)
    found = read_tensors(Reply(200, {}, reply.SerializeToString()))
    assert found["floats"].dtype == np.float32 and found["floats"].tolist() == given["floats"].tolist()
    assert found["ids"].tolist() == given["ids"] and found["flags"].tolist() == [True, False]
    assert found["text"].tolist() == [["é", "b"]] and found["one"].tolist() == ["only"]
    assert found["image"].tolist() == ["PNG\0", "PNG\0"]
    with pytest.raises(TypeError, match="The parameter x is list; gRPC takes a bool"):
        inference("m", given, None, None, {"x": []}, None)
    cut = CLASSES["InferResponse"](outputs=asked.inputs, raw_output_contents=[b"\1"] * len(given))
    with pytest.raises(tsi_client.BadAnswer, match="cannot be read"):
        read_tensors(Reply(200, {}, cut.SerializeToString()))


def test_a_server_with_tls_is_trusted_by_its_authority_alone(ask, tmp_path):
    write_certificate(tmp_path, "localhost")
    key, certificate = ((tmp_path / f"localhost.{kind}").read_bytes() for kind in ("key", "pem"))
    with scripted(GOOD, credentials=grpc.ssl_server_credentials([(key, certificate)])) as server:
        assert ask(server.url, authorities=tmp_path / "localhost.pem") == ANSWER
        with pytest.raises(tsi_client.ConnectionFailed):
            ask(server.url, retries=0)
    with pytest.raises(ValueError, match="name a PEM file"):
        GrpcClient("https://localhost:1", authorities=tmp_path / "none.pem")


@pytest.mark.parametrize("url", ["127.0.0.1:7070", "http://", "grpc://a:1", "http://a:1/v2"])
def test_an_invalid_address_is_refused(url):
    with pytest.raises(ValueError, match="write it as in http"):
        GrpcClient(url)
