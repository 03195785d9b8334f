"""Retries, deadlines, tokens and errors of both clients, against a scripted server."""

from __future__ import annotations

import asyncio
import json
import pickle
import time
from email.utils import formatdate

import numpy as np
import pytest

import tsi_client
from tests.client.scripted import hangs_up, says, scripted, stalls, trickles
from tsi_client import AsyncClient, Client, KeyFile
from tsi_client.deadline import Deadline
from tsi_client.exchange import Call, exchange
from tsi_client.retries import backoff, reconnect, seconds_told
from tsi_client.tensors import inference, read_tensors

GOOD = says(200, {"embedding": [1.0]})
FULL = says(503, {"code": 503, "message": "The queue is full"}, Retry_After="1")
REFUSED = says(401, {"code": 401, "type": "InvalidKeyException", "message": "Token Authorization failed"})


def waiting(url, token=None, call="predict", arguments=("m", "hi"), **settings):
    with Client(url, token, **settings) as client:
        return getattr(client, call)(*arguments)


def awaiting(url, token=None, call="predict", arguments=("m", "hi"), **settings):
    async def ask():
        async with AsyncClient(url, token, **settings) as client:
            return await getattr(client, call)(*arguments)

    return asyncio.run(ask())


@pytest.fixture(params=[waiting, awaiting], ids=["sync", "async"])
def ask(request):
    return request.param


def test_a_503_is_retried_after_its_retry_after(ask):
    with scripted(FULL, GOOD) as server:
        began = time.monotonic()
        assert ask(server.url) == {"embedding": [1.0]}
        assert time.monotonic() - began >= 1 and len(server.heads) == 2


def test_a_lasting_503_or_one_without_time_to_retry_raises_the_servers_message(ask):
    with scripted(FULL) as server:
        for settings in ({"retries": 0}, {"timeout": 0.9}):
            with pytest.raises(tsi_client.Overloaded) as refused:
                ask(server.url, **settings)
        assert (refused.value.status, refused.value.message, refused.value.retry_after) == (503, "The queue is full", 1)
        assert len(server.heads) == 2


def test_a_connection_that_ends_is_tried_again(ask):
    with scripted(hangs_up, GOOD) as server:
        assert ask(server.url) == {"embedding": [1.0]}
    with scripted(hangs_up) as server:
        with pytest.raises(tsi_client.ConnectionFailed, match=r"No answer from http://127\S+ \(RemoteProtocolError"):
            ask(server.url, retries=1)
        assert len(server.heads) == 2


def test_a_connection_is_not_tried_again_where_the_wait_would_outlast_the_call():
    for again, seconds in ((True, 0.05), (False, 60)):
        steps = exchange(Call("GET", "/"), None, 3, Deadline(seconds))
        next(steps)
        with pytest.raises(tsi_client.ConnectionFailed):
            steps.throw(tsi_client.ConnectionFailed("reset", again))


def test_a_refused_connection_is_an_error(ask):
    with pytest.raises(tsi_client.ConnectionFailed, match=r"No answer from http://127\.0\.0\.1:9 "):
        ask("http://127.0.0.1:9", retries=0)


STALLS = {
    "silence": stalls,
    "a head": trickles(b"HTTP/1.1 200 OK\r\nX: "),
    "a body": trickles(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n"),
}


@pytest.mark.parametrize("stall", STALLS)
def test_a_call_ends_at_its_deadline_however_slowly_the_server_sends(ask, stall):
    with scripted(STALLS[stall]) as server:
        began = time.monotonic()
        with pytest.raises(tsi_client.Timeout, match=r"within 0\.5 s"):
            ask(server.url, timeout=0.5)
        assert 0.5 <= time.monotonic() - began < 10 and len(server.heads) == 1


def test_all_tries_share_one_deadline(ask):
    with scripted(FULL, stalls) as server:
        began = time.monotonic()
        with pytest.raises(tsi_client.Timeout):
            ask(server.url, timeout=2.5)
        assert 2.4 <= time.monotonic() - began < 12 and len(server.heads) == 2


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, tsi_client.BadRequest), (401, tsi_client.Unauthorized), (403, tsi_client.Unauthorized),
        (404, tsi_client.NotFound), (413, tsi_client.TooLarge), (415, tsi_client.BadRequest),
        (500, tsi_client.ServerError), (503, tsi_client.Overloaded), (507, tsi_client.ServerError),
    ],
)  # fmt: skip
def test_each_status_has_its_error_and_every_error_survives_pickle(ask, status, kind):
    for body, said in (({"message": "Why"}, "Why"), ({"error": "Why"}, "Why"), (b"plain", "plain"), (b"", "Said")):
        with scripted(says(status, body)) as server, pytest.raises(tsi_client.Error) as failed:
            ask(server.url, retries=0)
        assert type(failed.value) is kind and str(failed.value) == f"{status}: {said}"
    again = pickle.loads(pickle.dumps(failed.value))
    assert (again.status, again.message) == (status, "Said")
    assert str(pickle.loads(pickle.dumps(tsi_client.ConnectionFailed("x", True)))) == "x"


def test_an_unexpected_body_is_an_error(ask):
    with scripted(says(200, b"<html>")) as server:
        with pytest.raises(tsi_client.BadAnswer, match="not JSON but begins with b'<html>'"):
            ask(server.url)
        with pytest.raises(tsi_client.BadAnswer, match="no message of the Open Inference Protocol"):
            ask(server.url, call="infer", arguments=("m", {"text": ["a"]}))
        assert ask(server.url, call="request", arguments=("GET", "/x")).text == "<html>"


def test_a_token_file_is_read_again_when_its_token_is_refused(ask, tmp_path):
    path = tmp_path / "token"
    path.write_text("first\n")

    def replaces(connection):
        path.write_text("second\n")
        REFUSED(connection)

    with scripted(replaces, GOOD, REFUSED) as server:
        assert ask(server.url, path) == {"embedding": [1.0]}
        with pytest.raises(tsi_client.Unauthorized, match="401: Token Authorization failed"):
            ask(server.url, path)  # there is no other
        assert server.tokens() == ["first", "second", "second"]
    path.write_text("two words")
    with pytest.raises(tsi_client.TokenError, match="token holds no token"):
        ask(server.url, path)
    with pytest.raises(tsi_client.TokenError, match="nowhere cannot be read"):
        ask(server.url, tmp_path / "nowhere")


def key_file(path, token, left_s):
    until = time.strftime("%Y-%m-%dT%H:%M:%S.123456789Z", time.gmtime(time.time() + left_s))
    keys = {kind: {"key": token, "expiration time": until} for kind in ("inference", "management")}
    path.write_text(json.dumps({**keys, "API": {"key": "master"}}))
    return path


def test_an_expiring_key_is_renewed_before_it_is_sent_and_a_refused_one_after(ask, tmp_path):
    path = key_file(tmp_path / "key_file.json", "old", 20)
    renewals = iter(("new", "newer"))

    def renews(connection):
        key_file(path, next(renewals), 3600)
        says(200, {})(connection)

    with scripted(renews) as management, scripted(GOOD, REFUSED, GOOD) as server:
        for _ in range(2):
            assert ask(server.url, KeyFile(path, management.url)) == {"embedding": [1.0]}
        assert server.tokens() == ["new", "new", "newer"] and management.tokens() == ["master", "master"]


def test_a_renewal_ends_at_the_calls_deadline(ask, tmp_path):
    path = key_file(tmp_path / "key_file.json", "old", 0)
    with scripted(stalls) as management:
        began = time.monotonic()
        with pytest.raises((tsi_client.Timeout, tsi_client.TokenError)):
            ask("http://127.0.0.1:9", KeyFile(path, management.url), timeout=0.5)
        assert time.monotonic() - began < 8
    with pytest.raises(tsi_client.TokenError, match="There is no key file at"):
        ask("http://127.0.0.1:9", KeyFile(tmp_path / "none.json"))


def test_a_users_own_source_of_tokens(ask):
    class Source:
        def get(self, timeout):
            return f"mine-{timeout > 0}"

        def renew(self, refused, timeout):
            return refused

    with scripted(GOOD) as server:
        ask(server.url, Source())
        assert server.tokens() == ["mine-True"]
        assert ask(server.url, Source(), call="token", arguments=()) == "mine-True"


def test_not_ready_is_false_and_no_error(ask):
    for status, ready in ((200, True), (400, False), (503, False)):
        with scripted(says(status, {})) as server:
            assert ask(server.url, call="ready", arguments=("m",)) is ready
            assert server.heads[0].startswith("GET /v2/models/m/ready ") and len(server.heads) == 1


def sent(call, *arguments):
    """The body that a call sends."""
    bodies = []

    class Recording(Client):
        def _send(self, step):
            bodies.append(step.call)
            return tsi_client.Reply(200, {}, b"{}")

    getattr(Recording("http://127.0.0.1:9"), call)(*arguments)
    return bodies[0]


def test_each_kind_of_data_has_its_body(tmp_path):
    (tmp_path / "a.png").write_bytes(b"PNG")
    assert (
        sent("predict", "m", "hé").content == "hé".encode() and sent("predict", "a/b", "x").path == "/predictions/a%2Fb"
    )
    assert sent("predict", "m", tmp_path / "a.png").content == sent("predict", "m", b"PNG").content == b"PNG"
    for data, document in (
        (["a", "b"], {"text": ["a", "b"]}), ([b"PNG", tmp_path / "a.png"], {"image": ["UE5H", "UE5H"]}),
        ({"query": "q", "texts": ["t"]}, {"query": "q", "texts": ["t"]}), ([{"a": 1}], {"instances": [{"a": 1}]}),
    ):  # fmt: skip
        assert json.loads(sent("predict", "m", data).content) == document
    with Client("http://127.0.0.1:9") as client:
        for data in (3, None, [], ["a", b"b"]):
            with pytest.raises(TypeError, match="expected a text, an image file"):
                client.predict("m", data)
    with pytest.raises(ValueError, match="write it as in http"):
        Client("127.0.0.1:8080")


def test_tensors_come_back_as_they_were_sent(tmp_path):
    (tmp_path / "a.png").write_bytes(b"PNG\0")
    given = {
        "floats": np.arange(6, dtype=">f4").reshape(2, 3), "ids": [[1, 2], [3, 4]], "flags": np.array([True, False]),
        "text": np.array([["é", "b"]]), "image": [tmp_path / "a.png", b"PNG\0"], "one": "only",
    }  # fmt: skip
    call = inference("m", given, ["x"], "2", {"top_k": 1}, None)
    length = int(call.headers["Inference-Header-Content-Length"])
    document = json.loads(call.content[:length])
    assert call.path == "/v2/models/m/versions/2/infer" and document["outputs"] == [{"name": "x"}]
    assert document["parameters"] == {"top_k": 1, "binary_data_output": True}
    head = json.dumps({"outputs": document["inputs"]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    found = read_tensors(tsi_client.Reply(200, headers, head + call.content[length:]))
    assert found["floats"].dtype == np.float32 and found["floats"].tolist() == given["floats"].tolist()
    assert found["ids"].dtype == np.int64 and found["ids"].tolist() == given["ids"]
    assert found["flags"].tolist() == [True, False] and found["text"].tolist() == [["é", "b"]]
    assert found["image"].tolist() == ["PNG\0", "PNG\0"] and found["one"].tolist() == ["only"]
    found["floats"][0, 0] = 7  # the array is writable
    plain = {"outputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}
    assert read_tensors(tsi_client.Reply(200, {}, json.dumps(plain).encode()))["x"].tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize("value", [1j, [object()], [["a"], [3]]])
def test_an_invalid_tensor_is_named(value):
    with pytest.raises((TypeError, ValueError)):
        inference("m", {"x": value}, None, None, None, None)


def test_waits_grow_and_follow_retry_after():
    for refused, told in ((0, 1), (1, 2), (3, 8)):
        waits = {backoff(refused, "1") for _ in range(50)}
        assert told <= min(waits) < max(waits) <= 1.5 * told
    assert backoff(0, "30") >= 30 and 1 <= backoff(0, None) <= 1.5 and 1 <= backoff(0, "soon") <= 1.5
    assert 8 < seconds_told(formatdate(time.time() + 10, usegmt=True)) <= 10 and seconds_told("0") == 0
    assert 0.1 <= reconnect(0) <= 0.15 and 1.6 <= reconnect(2) <= 2.4
