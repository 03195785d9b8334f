"""Bodies for the text archive: JSON of every shape, texts in every encoding, with right and wrong content types."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace

from hypothesis import strategies as st

from tests.trust.fuzz.case import Case

CONTENT_TYPES = (
    "application/json", "application/json; charset=utf-8", "APPLICATION/JSON", "text/plain",
    "text/plain; charset=utf-16",
    "application/octet-stream", "image/png", "text/html", "application/x-ndjson", "multipart/form-data", "; ;", "x",
    None,
)  # fmt: skip

ENCODINGS = ("gzip", "gzip", "gzip", "GZIP", "x-gzip", "deflate", "gzip, gzip", "identity")

# Known difficult inputs of JSON libraries, recursive walks and type checks.
AWKWARD = (
    b"", b" ", b"null", b"NaN", b"-Infinity", b'{"text": NaN}', b'{"text": 1e999999}', b"-" + b"9" * 10_000,
    b'{"text": -0}', b'{"text": "\\ud800"}', b'{"text": "\\udfff\\ud800"}', b'{"text": "\\u0000"}', b'{"text": "\xff"}',
    b'{"text": "\xed\xa0\x80"}', b"[" * 100_000, b'{"text":' * 20_000, b"[" * 900 + b"]" * 900,
    b'{"instances": ' + b"[" * 500 + b"]" * 500 + b"}", b'{"text": "a", "text": 5}', b'{"text": "a"} trailing',
    b'\xef\xbb\xbf{"text": "a"}', '{"text": "a"}'.encode("utf-16"), '{"text": "a"}'.encode("utf-32"), b'{"text": "a"',
    b"{'text': 'a'}", b'{"text": "a",}', b'{"text": /* c */ "a"}', b'{"__proto__": {}, "text": {"$ref": "#"}}',
    b'{"text": []}', b'{"instances": []}', b'{"instances": null}', b'{"instances": {"text": "a"}}', b'{"inputs": [{}]}',
    b'{"instances": [' + b'"a",' * 64 + b'"a"]}', b'{"text": [' + b"[]," * 5_000 + b"[]]}",
    b'{"text": "' + b"a" * 100_001 + b'"}',
    b"\x00" * 1_000, b"\xff\xfe", b"\x1f\x8b\x08\x00", b"PK\x03\x04", b"\x80\x04\x95", b"\r\n\r\n",
    b"%s%n${jndi:ldap://127.0.0.1:9/a}",
)  # fmt: skip

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(("text", "instances", "image", "inputs", "b64", "data", ""))
documents = (
    values
    | st.dictionaries(KEYS, values, min_size=1, max_size=3)
    | st.builds(lambda key, items: {key: items}, KEYS, st.lists(st.text(max_size=30), max_size=6))
    | st.builds(lambda items: {"instances": [{"text": item} for item in items]}, st.lists(values, max_size=4))
)


def _dump(document: object, ascii_only: bool) -> bytes:
    # Lone surrogates stay as escapes, or as bytes that are not UTF-8; NaN and Infinity are as Python's json writes
    # them.
    return json.dumps(document, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")


def damaged(data: bytes, at: int, value: int, cut: bool) -> bytes:
    """``data`` with one byte changed, or cut off there."""
    at = at % (len(data) + 1)
    return data[:at] if cut else data[:at] + bytes([value]) + data[at + 1 :]


def _packed(case: Case, at: int, value: int, cut: bool) -> Case:
    body = damaged(gzip.compress(case.body, mtime=0), at, value, cut)
    return replace(case, kind="gzip", body=body, encoding=ENCODINGS[value % len(ENCODINGS)])


# Bodies with a known item and, where OTHER is, an unknown key: none may be answered.
OTHER = "another key"
READ = (
    {"text": "a", OTHER: 0}, {"text": ["a", "b"], OTHER: 0}, {"instances": ["a"], OTHER: 0},
    {"instances": ["a", {"text": "a", OTHER: 0}]},
)  # fmt: skip
others = st.text(max_size=12).filter(lambda key: key not in ("text", "instances", "parameters"))


def _with_another_key(which: int, path: str, key: str, value: object) -> Case:
    body = json.dumps(READ[which]).replace(json.dumps({OTHER: 0})[1:-1], json.dumps({key: value})[1:-1])
    return Case("text", target=path, body=body.encode(), content_type="application/json", refused=True)


json_bodies = st.builds(_dump, documents, st.booleans())
damaged_json = st.builds(damaged, json_bodies, st.integers(0, 200), st.integers(0, 255), st.booleans())
any_text = st.text(st.characters(), min_size=1, max_size=60)  # lone surrogates too
encodings = st.sampled_from(("utf-8", "utf-16", "utf-32", "utf-7", "cp1252", "shift-jis"))
encoded = st.builds(
    lambda text, how: text.encode(how, "surrogatepass" if how.startswith("utf-") and how != "utf-7" else "replace"),
    any_text, encodings,
)  # fmt: skip
long_texts = st.builds(
    lambda unit, size: (unit * (size // len(unit) + 1))[:size].encode("utf-8", "surrogatepass"),
    st.text(min_size=1, max_size=4),
    st.sampled_from((513, 5_000, 99_999, 100_000, 100_001)),
)
awkward = st.integers(0, len(AWKWARD) - 1).map(AWKWARD.__getitem__)  # by index, since Hypothesis prints the elements
# One long text in thirty: each keeps the model busy for as long as a hundred short ones.
WEIGHTS = ((json_bodies, 8), (damaged_json, 6), (encoded, 7), (st.binary(max_size=200), 3), (awkward, 5),
(long_texts, 1))
bodies = st.one_of(*(strategy for strategy, times in WEIGHTS for _ in range(times)))
fitting = st.sampled_from(("application/json", "text/plain"))


def cases(paths: st.SearchStrategy[str]) -> st.SearchStrategy[Case]:
    """Requests to one of ``paths`` whose body is text or JSON, or should be."""
    types = fitting | st.sampled_from(CONTENT_TYPES)
    unread = st.builds(_with_another_key, st.integers(0, len(READ) - 1), paths, others, values)
    plain = st.builds(Case, kind=st.just("text"), target=paths, body=bodies, content_type=types)
    packed = st.builds(_packed, plain, st.integers(0, 10**6), st.integers(0, 255), st.booleans())
    return st.one_of(*[plain] * 9, *[packed] * 2, unread)
