"""Requests that HTTP forbids, or only just allows, written to the socket byte by byte."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.trust.fuzz.case import Case

TARGETS = (
    "{path}", "*", "foo", "?x", "/%", "/%zz", "//", "/predictions//", "/predictions/%ff", "/predictions/%00",
    "/predictions/../../etc/passwd", "/predictions/..%2f..%2fetc", "http://x{path}", "{path}/9.9", "{path}/1.0/a/b",
    "{path}?%", "{path}?text=a", "/explanations/minilm", "/v1/models/:predict", "/v1/models/x:explain",
    "/v2/models/x/infer",
    "/v2/models/x/versions/1/infer", "/v2/health/ready", "/v2", "/v2/models/minilm-torchscript",
    "/v2/models/minilm-torchscript/ready", "/v2/models/%2f/infer", "/wfpredict", "/wfpredict/x",
    "/invocations?model_name=x",
    "/models/x/invoke", "/x/predict", "/api-description", "/ping", "/metrics", "/models", "/token?type=inference",
)  # fmt: skip
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW", "post", "P\x00ST")
VERSIONS = ("HTTP/1.1", "HTTP/1.0", "HTTP/9.9", "HTTP/1.1 x", "HTTZ/1.1", "")
HEADERS = (
    "X: " + "a" * 9_000, "Content-Type: \xff\xfe/\x01", "Content-Type: multipart/form-data; boundary=" + "b" * 3_000,
    "nocolon",
    ": x", "X-\xe9: \xff", "X\x00: y", "X : y", " folded", "describe: True", "explain: True", "body: x",
    "open-inference: infer", "Inference-Header-Content-Length: 1",
    "url_path: ../..",
    "ts_request_sequence_id: 1", "ts_stream_next: true", "x-variant: forged", "Expect: 100-continue", "Expect: tea",
    "Upgrade: h2c\r\nConnection: Upgrade", "Connection: close", "Host: " + "h" * 500, "Cookie: " + "c=d; " * 400,
    "Content-Encoding: gzip", "X-Forwarded-For: 127.0.0.1", "Range: bytes=0-1", "Accept: application/xml",
)  # fmt: skip


def _message(start: str, headers: list[str], body: bytes) -> bytes:
    lines = [start, "Host: x", "Authorization: Bearer {token}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def _odd(path: str, method: str, target: str, version: str, headers: list[str], body: bytes) -> Case:
    start = f"{method} {target.format(path=path)} {version}"
    length = [] if any(header.startswith("Expect") for header in headers) else [f"Content-Length: {len(body)}"]
    return Case("wire", raw=_message(start, [*headers, *length], body), hang_up=not length)


def _framed(path: str, framing: str, body: bytes) -> Case:
    """A POST whose body does not end where its headers state."""
    return Case("wire", raw=_message(f"POST {path} HTTP/1.1", [framing], body), hang_up=True)


def _flood(path: str, count: int, size: int) -> Case:
    headers = [f"x-{index}: {'v' * size}" for index in range(count)]
    return Case("wire", raw=_message(f"POST {path} HTTP/1.1", [*headers, "Content-Length: 2"], b"hi"))


FRAMINGS = (
    "Content-Length: 20", "Content-Length: 2000000", "Content-Length: 99999999999", "Content-Length: -5",
    "Content-Length: abc",
    "Content-Length: 2\r\nContent-Length: 3", "Content-Length: 2\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: tea", "Transfer-Encoding: chunked, chunked", "Transfer-Encoding: gzip, chunked",
    "X: no length at all",
)  # fmt: skip
CHUNKS = (
    b"2\r\nhi\r\n0\r\n\r\n", b"5\r\nhi", b"zz\r\nhi\r\n0\r\n\r\n", b"ffffffffffffffff\r\nhi", b"-1\r\nhi\r\n",
    b"2;a=b\r\nhi\r\n0\r\n\r\n",
    b"0\r\n\r\n", b"", b"2\r\nhi\r\n0\r\nTrailer: x\r\n\r\n", b"2\nhi\n0\n\n", b"hi", b"2\r\nhixx\r\n", b"\r\n" * 500,
)  # fmt: skip
NOT_HTTP = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(30),
    b"GET /\r\n\r\n", b"\0" * 500,
    b"SSH-2.0-x\r\n", b"\r\n\r\n\r\n", b"A" * 20_000, b"POST " + b"/" * 9_000 + b" HTTP/1.1\r\n\r\n",
    b"*1\r\n$4\r\nPING\r\n",
)  # fmt: skip


def cases(paths: st.SearchStrategy[str]) -> st.SearchStrategy[Case]:
    """Requests to one of ``paths`` that a library would not send."""
    bodies = st.sampled_from((b"", b"hi", b'{"text": "hi"}', b"\xff" * 50))
    odd = st.builds(_odd, paths, st.sampled_from(("POST",) * 6 + METHODS), st.sampled_from(("{path}",) * 8 + TARGETS),
                    st.sampled_from(("HTTP/1.1",) * 8 + VERSIONS), st.lists(st.sampled_from(HEADERS), max_size=3),
                    bodies)  # fmt: skip
    framed = st.builds(_framed, paths, st.sampled_from(FRAMINGS), st.sampled_from(CHUNKS))
    flood = st.builds(_flood, paths, st.sampled_from((10, 200, 2_000)), st.sampled_from((1, 30, 900)))
    noise = st.builds(lambda raw: Case("wire", raw=raw, hang_up=True),
    st.sampled_from(NOT_HTTP) | st.binary(min_size=1, max_size=80))
    return st.one_of(odd, odd, odd, framed, framed, flood, noise)
