"""The front end's limits: which requests are refused before they are read, and that no client can take the server from
the others."""

from __future__ import annotations

import contextlib
import gzip
import os
import select
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import metrics
from tests.trust.access import GRPC_MANAGEMENT, INFER, PREDICTIONS, STREAM, call, field
from tests.trust.crowd import PATH, SLOW, busy, fill, post, queued
from tests.trust.figures import FULL, record
from tests.trust.place import eventually, place, reconfigure, rewrite
from tests.trust.raw import ask, connection, head, receive
from tsi_client import Overloaded
from tsi_client.grpc import GrpcClient

pytestmark = pytest.mark.served
QUEUE, LARGEST, HEAP, SILENCE_S = 16, 1 << 20, 128 << 20, 10
MOUNTED = "1f" * 16 + "+/="
URLENCODED, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"


@pytest.fixture(scope="module")
def server(null_store, tmp_path_factory):
    """A server of one slow worker, with a short queue and little memory."""
    flags = f"-Xmx{HEAP >> 20}m -XX:+UseSerialGC -XX:MaxDirectMemorySize=80m -Dfrontend.silenceS={SILENCE_S}"
    folder = tmp_path_factory.mktemp("front")
    (folder / "a token").write_text(f"{MOUNTED}\n\n{MOUNTED[::-1]}\n")
    settings = {"job_queue_size": str(QUEUE), "max_request_size": str(LARGEST), "vmargs": flags,
                "open_ping": "true", "inference_token_file": "a token"}  # fmt: skip
    with place(folder, null_store, **settings) as made:
        rewrite(made.store / "null.mar", lambda name, data: data + SLOW if name == "null.py" else data)
        reconfigure(made.store / "null.mar", batchSize=1)
        made.serve()
        inference, elsewhere = made.config.inference, "127.0.0.9"
        with connection(inference, elsewhere) as silent, connection(inference, elsewhere) as headless:
            silent.sendall(head(PATH, made.client.token(), "Content-Length: 9") + b"half")
            headless.sendall(b"POST /")
            made.slow, made.token_file = [silent, headless], folder / "a token"
            yield made


def chunked(token, body, content_type):
    pieces = [body[at : at + 50_000] for at in range(0, len(body), 50_000)]
    sent = b"".join(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces) + b"0\r\n\r\n"
    return head(PATH, token, f"Content-Type: {content_type}", "Transfer-Encoding: chunked") + sent


def parts(count):
    return b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n' * count + b"--b--\r\n"


FORMS = {
    "a urlencoded form of 900 kB": lambda token: post(token, b"a&" * 450_000, URLENCODED),
    "the same in chunks": lambda token: chunked(token, b"a=" + b"b" * 900_000, URLENCODED),
    "a small form of 2,000 fields": lambda token: post(token, b"a&" * 2_000, URLENCODED),
    "a multipart form of 2,000 parts": lambda token: post(token, parts(2_000), MULTIPART),
    "the same in chunks, in parts": lambda token: chunked(token, parts(2_000), MULTIPART),
}


@pytest.mark.parametrize("form", FORMS)
def test_large_forms_are_refused_before_they_are_decoded(server, base, token, form):
    answer = ask(base, FORMS[form](token))
    assert (answer.status, answer.end) == (413, "closed") and "form has at most" in answer.json()["message"]
    assert ask(base, post(token, parts(1), MULTIPART)).status == 400  # the handler's word


def test_forms_that_cannot_be_read_are_not_kept(base, token):
    """Netty's decoder keeps the body of such a form: 100 of these are more than all memory that Java has for them."""
    broken = b"--b\r\nContent-Disposition: form-data\r\n\r\n" + b"x" * 900_000 + b"\r\n--b--\r\n"
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda _: ask(base, post(token, broken, MULTIPART)).status, range(100))
    assert set(answers) == {400}
    assert ask(base, post(token, b"x" * 900_000)).status == 200


def test_a_request_without_a_token_is_refused_before_its_body_is_sent(server, base):
    for port, path in ((base, PATH), (server.config.management, "/models")):
        for key in (None, "AAAAAAAA"):
            with connection(port) as sock:
                sock.sendall(head(path, key, "Content-Length: 1000000"))
                answer = receive(sock, 5)
            assert (answer.status, answer.end) == (401, "closed")
            assert answer.json()["type"] == "InvalidKeyException" and answer.headers["www-authenticate"] == "Bearer"
    for port, path in ((base, "/api-description"), (server.config.metrics, "/metrics")):
        assert ask(port, head(path, None, "Content-Length: 1000000", method="GET")).status == 413


def test_ping_needs_no_token_where_the_config_says_so_and_takes_no_body(server, base):
    answer = ask(base, head("/ping", None, method="GET"))
    assert (answer.status, answer.json()["status"]) == (200, "Healthy")
    assert ask(base, head("/ping?x=1", "AAAAAAAA", method="GET")).status == 200
    assert ask(base, head("/ping", None, "Content-Length: 1000000", method="GET")).status == 413
    assert ask(base, head("/v2/health/ready", None, method="GET")).json() == {"ready": True}
    for path, method in (("/ping", "POST"), ("/ping/x", "GET"), ("//ping", "GET"), (PATH, "GET"), ("/v2/ping", "GET"),
                         ("/v2/health/live", "GET"), ("/v2/health", "GET"), ("/v2/health/ready/x", "GET"),
                         ("/v2/health/ready", "POST"), ("/x/v2/health/ready", "GET")):  # fmt: skip
        assert ask(base, head(path, None, method=method)).status == 401
    assert ask(server.config.management, head("/ping", None, method="GET")).status == 401


def test_mounted_tokens_are_inference_tokens_until_their_file_changes(server, base):
    method = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Ping"
    for token in (MOUNTED, MOUNTED[::-1]):
        assert ask(base, post(token, b"hi")).status == 200
        assert call(server.config, "grpc_inference_port", method, f"Bearer {token}")[0] == "OK"
    for wrong in (MOUNTED[:-1], f"{MOUNTED}x", f"{MOUNTED} {MOUNTED}", ""):
        assert ask(base, post(wrong, b"hi")).status == 401
    for path in ("/models", "/token?type=inference"):
        assert ask(server.config.management, head(path, MOUNTED, method="GET")).status == 401
    code, _ = call(server.config, "grpc_management_port", GRPC_MANAGEMENT[0], f"Bearer {MOUNTED}")
    assert code == "UNAUTHENTICATED"
    server.token_file.write_text("short\n" + "new" * 20)
    eventually(lambda: ask(base, post(MOUNTED, b"hi")).status == 401, 10)
    assert ask(base, post("new" * 20, b"hi")).status == 200 and ask(base, post("short", b"hi")).status == 401
    server.token_file.unlink()
    eventually(lambda: ask(base, post("new" * 20, b"hi")).status == 401, 10)
    assert ask(base, post(server.client.token(), b"hi")).status == 200


def packed(token, body, content_type="text/plain", coding="gzip"):
    return post(token, body, content_type, f"Content-Encoding: {coding}")


PACKED = {
    "a body": (lambda: gzip.compress(b"x" * 900_000), "text/plain", 200, ""),
    "two members": (lambda: gzip.compress(b"x") + gzip.compress(b"y" * 900_000), "text/plain", 200, ""),
    "a body as large as may be": (lambda: gzip.compress(bytes(LARGEST)), "text/plain", 200, ""),
    "a byte more": (lambda: gzip.compress(bytes(LARGEST + 1)), "text/plain", 413, "max_request_size"),
    "a bomb of 900 MB": (lambda: gzip.compress(bytes(9 << 20)) * 100, "text/plain", 413, "max_request_size"),
    "a form of 2,000 parts": (lambda: gzip.compress(parts(2_000)), MULTIPART, 413, "form has at most"),
    "a form of 2,000 fields": (lambda: gzip.compress(b"a&" * 2_000), URLENCODED, 413, "form has at most"),
    "a urlencoded form of 900 kB": (lambda: gzip.compress(b"a=" + b"b" * 900_000), URLENCODED, 413, "at most 65536"),
    "a body that is cut short": (lambda: gzip.compress(b"x" * 900_000)[:-9], "text/plain", 400, "not valid gzip"),
    "a wrong checksum": (lambda: gzip.compress(b"x")[:-8] + b"abcd" + gzip.compress(b"x")[-4:], "text/plain", 400,
                         "not valid gzip"),
    "no gzip": (lambda: b"hi", "text/plain", 400, "not valid gzip"),
}  # fmt: skip


@pytest.mark.parametrize("body", PACKED)
def test_gzip_is_undone_within_the_limits_of_any_body(server, base, token, body):
    make, content_type, status, says = PACKED[body]
    answer = ask(base, packed(token, make(), content_type))
    assert answer.status == status, answer
    assert status == 200 or says in answer.json()["message"]
    eventually(lambda: ask(base, post(token, b"x" * 900_000)).status == 200, 10)  # all its bytes are given back


def test_a_packed_body_that_grows_beyond_the_memory_for_requests_is_told_to_come_back(server, base, token):
    """It is a kilobyte, and a megabyte once it is unpacked."""
    small = gzip.compress(bytes(LARGEST))
    held, most = 60, HEAP // 2 // 4 * 3 // LARGEST  # of one address
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(connection(base)) for _ in range(held)]
        for sock in socks:
            sock.sendall(head(PATH, token, f"Content-Length: {LARGEST - 2_000}"))
        eventually(lambda: len(select.select(socks, [], [], 0)[0]) >= held - most)
        answer = ask(base, packed(token, small))  # what is left is less than any of them asks for
    assert (answer.status, answer.headers["retry-after"]) == (503, "1") and "as many bytes" in answer.json()["message"]
    eventually(lambda: ask(base, packed(token, small)).status == 200, 10)


@pytest.mark.parametrize("coding", ["br", "deflate", "gzip, gzip", "zstd", "x", "gzip\r\nContent-Encoding: gzip"])
def test_other_codings_are_refused_at_the_head(base, token, coding):
    with connection(base) as sock:
        sock.sendall(head(PATH, token, f"Content-Encoding: {coding}", "Content-Length: 1000000"))
        answer = receive(sock, 5)
    assert (answer.status, answer.end) == (415, "closed") and "can be gzip" in answer.json()["message"]


def test_a_field_that_comes_twice_is_refused(base, token):
    for body, content_type in ((b"text=a&text=b", URLENCODED), (parts(2), MULTIPART)):
        answer = ask(base, post(token, body, content_type))
        assert answer.status == 400 and "a field twice" in answer.json()["message"]
    assert ask(base, post(token, b"text=a", URLENCODED)).status == 200


def test_the_bytes_of_all_requests_together_are_bounded(server, base, token):
    """Connections hold requests of 1 MB without end; those that do not fit are told to come back, others are served."""
    held, most = 60, HEAP // 2 // 4 * 3 // LARGEST  # of one address
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(connection(base)) for _ in range(held)]
        for sock in socks:
            sock.sendall(head(PATH, token, "Content-Type: text/plain", f"Content-Length: {LARGEST}") + b"x" * 500_000)
        eventually(lambda: len(select.select(socks, [], [], 0)[0]) >= held - most)
        time.sleep(0.3)  # should more be refused, they are by now
        refused = [receive(sock) for sock in select.select(socks, [], [], 0)[0]]
        assert len(refused) == held - most
        assert {(answer.status, answer.headers["retry-after"], answer.end) for answer in refused} == {
            (503, "1", "closed")
        }
        assert ask(base, post(token, b"x" * 900_000), source="127.0.0.2").status == 200
    eventually(lambda: ask(base, post(token, b"x" * 900_000)).status == 200, 10)  # all is given back
    assert ask(base, post(token, b"x" * (LARGEST + 1))).json()["type"] == "RequestTooLargeException"


def refusals(server, kind):
    """How many requests to ``null`` the metrics count under that kind of error."""
    return metrics.value(server.config, "tsi_errors_total", model="null", kind=kind)


def spent(server):
    """The sum of the times of the requests to ``null`` that got a 5xx."""
    return metrics.value(server.config, "tsi_request_duration_seconds_sum", model="null", stage="total", status="5xx")


def test_a_full_queue_says_so_and_when_to_come_back(server, base, token):
    before, began, waited = refusals(server, "queue_full"), time.monotonic(), spent(server)
    with busy(server), contextlib.ExitStack() as stack:
        fill(server, stack, QUEUE)
        assert metrics.value(server.config, "tsi_queue_length", model="null") == QUEUE
        answer = ask(base, post(token, b"hi"))
        in_tensors = ask(base, post(token, b"{}").replace(PATH.encode(), b"/v2/models/null/infer", 1))
        unsent = head("/v2/models/null/versions/1.0/infer", token, "Content-Length: 900000", "Expect: 100-continue")
        objected = ask(base, unsent)
        over_grpc = [call(server.config, "grpc_inference_port", method, f"Bearer {token}", field(1, "null"))
                     for method in (PREDICTIONS, INFER)]  # fmt: skip
        port = server.config.properties["grpc_inference_port"]
        with GrpcClient(f"http://127.0.0.1:{port}", token, retries=0) as ours:
            with pytest.raises(Overloaded, match="503: The queue of null is full") as told:
                ours.metadata("null")
    assert told.value.retry_after == 1
    assert (answer.status, answer.headers["retry-after"], answer.end) == (503, "1", "open")
    assert f"The queue of null is full ({QUEUE} requests); retry after 1 s" in answer.json()["message"]
    for refused in (in_tensors, objected):
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert refused.json() == {"error": answer.json()["message"]}
    for code, said in over_grpc:
        assert code == "UNAVAILABLE" and f"The queue of null is full ({QUEUE} requests); retry after 1 s" in said
    assert refusals(server, "queue_full") == before + 6
    assert 0 < spent(server) - waited < 6 * (time.monotonic() - began)


def test_a_request_whose_client_hung_up_leaves_the_queue(server, base, token):
    before = refusals(server, "client_gone")
    with busy(server):
        with contextlib.ExitStack() as stack:
            fill(server, stack, QUEUE - 1)
        eventually(lambda: queued(server) <= 1)  # the one that is still waited for, unless the worker has it
        eventually(lambda: refusals(server, "client_gone") == before + QUEUE - 1)


def test_a_full_queue_makes_room_for_an_address_that_has_less(server, base, token):
    with busy(server), contextlib.ExitStack() as stack:
        greedy = fill(server, stack, QUEUE)
        modest = stack.enter_context(connection(base, "127.0.0.2"))
        modest.sendall(post(token, b"hi"))
        given_up, _, _ = select.select(greedy, [], [], 30)
        refused = ask(base, post(token, b"hi"))  # one more of the greedy: no
        assert refused.status == 503 and "others wait" in refused.json()["message"]
        os.kill(server.worker("null"), signal.SIGCONT)
        assert receive(modest).status == 200
        statuses = Counter(receive(sock, 0.05).status for sock in greedy)
    assert len(given_up) == 1
    assert statuses == {200: QUEUE - 1, 503: 1}


def test_a_greedy_address_takes_no_queue_from_eight_modest_ones(server, base, token):
    """Figures: eight clients with a connection each and a pause of 20 ms, beside one with 60 connections and none."""
    seconds, over, found = 10 if FULL else 2, threading.Event(), {"greedy": [], "modest": []}

    def client(kind, source, pause_s):
        while not over.is_set():
            began = time.monotonic()
            status = ask(base, post(token, b"hi", "text/plain", "Connection: close"), 5, source).status
            found[kind].append((status, time.monotonic() - began))
            over.wait(pause_s)

    with ThreadPoolExecutor(68) as pool:
        for _ in range(60):
            pool.submit(client, "greedy", "127.0.0.1", 0)
        for number in range(2, 10):
            pool.submit(client, "modest", f"127.0.0.{number}", 0.02)
        time.sleep(seconds)
        over.set()
    slowest = sorted(took for _, took in found["modest"])
    served = {kind: Counter(status for status, _ in rows) for kind, rows in found.items()}
    record("greedy", seconds=seconds, served=served, modest_p50_ms=round(slowest[len(slowest) // 2] * 1e3, 1))
    assert served["modest"].keys() == {200} and served["greedy"][503] > 0


FRAMING = {
    "a length and chunks": ("Content-Length: 2\r\nTransfer-Encoding: chunked", b"2\r\nhi\r\n0\r\n\r\n"),
    "two lengths": ("Content-Length: 2\r\nContent-Length: 2", b"hi"),
    "a length below zero": ("Content-Length: -5", b"hi"),
    "an unknown coding": ("Transfer-Encoding: tea", b"hi"),
    "a line feed in a head": ("Content-Length: 2\nX: y", b"hi"),
    "a line feed in a chunk": ("Transfer-Encoding: chunked", b"2\nhi\r\n0\r\n\r\n"),
    "a chunk longer than its size": ("Transfer-Encoding: chunked", b"2\r\nhixx\r\n0\r\n\r\n"),
    "a space before a colon": ("Content-Length : 2", b"hi"),
    "a control character in a name": ("X\x0b: y\r\nContent-Length: 2", b"hi"),
    "a folded header": ("X: y\r\n z\r\nContent-Length: 2", b"hi"),
    "200 headers": ("\r\n".join(f"x{each}: y" for each in range(200)) + "\r\nContent-Length: 2", b"hi"),
}


@pytest.mark.parametrize("framing", FRAMING)
def test_what_is_not_http_to_the_letter_is_refused_in_good_order(base, token, framing):
    headers, body = FRAMING[framing]
    answer = ask(base, head(PATH, token, "Content-Type: text/plain", headers) + body)
    assert (answer.status, answer.end, answer.headers["connection"]) == (400, "closed", "close")
    assert answer.json().keys() == {"code", "type", "message"}


def test_chunks_with_extensions_and_trailers_are_http(base, token):
    body = b"2;a=b\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n"
    assert ask(base, head(PATH, token, "Content-Type: text/plain", "Transfer-Encoding: chunked") + body).status == 200


def test_connections_close_when_asked_to_and_stay_open_otherwise(base, token):
    closed = ask(base, post(token, b"hi", "text/plain", "Connection: close"))
    assert (closed.status, closed.end, closed.headers["connection"]) == (200, "closed", "close")
    assert ask(base, post(token, b"hi").replace(b"HTTP/1.1", b"HTTP/1.0")).end == "closed"
    assert ask(base, post(token, b"hi")).end == "open"


def test_pipelined_requests_are_answered_in_order(base, token):
    """A 404 does not overtake the answer before it."""
    body = ask(base, post(token, b"hi") + post(token, b"hi").replace(b"/null", b"/none")).body
    assert body.index(b'{"predictions"') < body.index(b"404 Not Found")


def test_an_error_is_readable_by_a_client_that_is_still_sending(base):
    assert ask(base, post(None, bytes(900_000))).status == 401


def test_what_a_user_sent_is_in_no_log(server, base, token):
    word = "Xq7Rosebud"
    body = (b'--b\r\nContent-Disposition: form-data; name="text"\r\nContent-Type: a/b; charset=' + word.encode()
            + b"\r\n\r\nhi\r\n--b--\r\n")  # fmt: skip
    for request in (post(token, body, MULTIPART), post(token, b"a=%" + word.encode(), URLENCODED),
                    head(f"/{word}", token), head(f"{word}", token), head(f"/?{word}=%zz", token)):  # fmt: skip
        answer = ask(base, request)
        assert 400 <= answer.status < 500
    assert not any(word in path.read_text() for path in server.directory.logs.iterdir())


@pytest.mark.parametrize("method", [PREDICTIONS, STREAM])
def test_grpc_says_what_is_wrong_with_a_status(server, token, method):
    """A stream ends with the answer of a handler that knows no streams, or with its refusal."""

    def predict(name, *keys):
        entries = [field(3, field(1, key).decode() + field(2, "x").decode()) for key in keys]
        return call(server.config, "grpc_inference_port", method, f"Bearer {token}", field(1, name) + b"".join(entries))

    assert predict("null", "data") == ("OK", "")
    code, said = predict("null", "nonsense", "more")
    assert code == "INVALID_ARGUMENT" and said
    assert predict("none", "data")[0] == "NOT_FOUND" and predict("", "data")[0] == "INVALID_ARGUMENT"


def test_half_a_request_is_not_waited_for(server):
    """Both were begun when the server was."""
    for sock in server.slow:
        answer = receive(sock)
        assert (answer.status, answer.end, answer.json()["type"]) == (408, "closed", "RequestTimeoutException")
