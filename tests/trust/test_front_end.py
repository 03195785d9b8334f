"""The front end's limits for one request: refusals before it is read, and violations of HTTP."""

from __future__ import annotations

import gzip
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.trust.access import GRPC_MANAGEMENT, PREDICTIONS, STREAM, call, field
from tests.trust.crowd import PATH, packed, post
from tests.trust.place import eventually
from tests.trust.raw import ask, connection, head, receive
from tests.trust.small import LARGEST, MOUNTED, small_server

pytestmark = pytest.mark.served
URLENCODED, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"


@pytest.fixture(scope="module")
def server(null_store, tmp_path_factory):
    with small_server(tmp_path_factory.mktemp("front"), null_store) as made:
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
    assert ask(base, post(token, parts(1), MULTIPART)).status == 400  # the handler's own answer


def test_unreadable_forms_leave_no_memory_in_use(base, token):
    """Netty's decoder keeps the body of such a form. 100 of these exceed all memory that Java has for them."""
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
def test_gzip_is_decompressed_within_the_limits_of_any_body(server, base, token, body):
    make, content_type, status, says = PACKED[body]
    answer = ask(base, packed(token, make(), content_type))
    assert answer.status == status, answer
    assert status == 200 or says in answer.json()["message"]
    eventually(lambda: ask(base, post(token, b"x" * 900_000)).status == 200, 10)  # all its bytes were returned


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
def test_invalid_http_is_refused_with_a_readable_answer(base, token, framing):
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


def test_no_log_has_a_users_data(server, base, token):
    word = "Xq7Rosebud"
    body = (b'--b\r\nContent-Disposition: form-data; name="text"\r\nContent-Type: a/b; charset=' + word.encode()
            + b"\r\n\r\nhi\r\n--b--\r\n")  # fmt: skip
    for request in (post(token, body, MULTIPART), post(token, b"a=%" + word.encode(), URLENCODED),
                    head(f"/{word}", token), head(f"{word}", token), head(f"/?{word}=%zz", token)):  # fmt: skip
        answer = ask(base, request)
        assert 400 <= answer.status < 500
    assert not any(word in path.read_text() for path in server.directory.logs.iterdir())


@pytest.mark.parametrize("method", [PREDICTIONS, STREAM])
def test_grpc_errors_have_a_status(server, token, method):
    """A stream ends with a handler's answer if the handler knows no streams, or with its refusal."""

    def predict(name, *keys):
        entries = [field(3, field(1, key).decode() + field(2, "x").decode()) for key in keys]
        return call(server.config, "grpc_inference_port", method, f"Bearer {token}", field(1, name) + b"".join(entries))

    assert predict("null", "data") == ("OK", "")
    code, said = predict("null", "nonsense", "more")
    assert code == "INVALID_ARGUMENT" and said
    assert predict("none", "data")[0] == "NOT_FOUND" and predict("", "data")[0] == "INVALID_ARGUMENT"


def test_an_incomplete_request_times_out(server):
    """Both were begun right after the server's start."""
    for sock in server.slow:
        answer = receive(sock)
        assert (answer.status, answer.end, answer.json()["type"]) == (408, "closed", "RequestTimeoutException")
