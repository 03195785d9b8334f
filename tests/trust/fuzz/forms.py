"""Form bodies: multipart and url-encoded, well formed, misused and malformed."""

from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import strategies as st

from tests.trust.fuzz.case import Case
from tests.trust.fuzz.images import spoilt
from tests.trust.fuzz.structures import structured
from tests.trust.fuzz.texts import bodies

BOUNDARIES = ("b", "----WebKitFormBoundary7MA4YWxk", "a" * 200, "b b", "'()+_,-./:=?")
HEADERS = (
    'Content-Disposition: form-data; name="text"', 'Content-Disposition: form-data; name="image"; filename="a.png"',
    'Content-Disposition: form-data; name="body"', 'Content-Disposition: form-data; name=""',
    "Content-Disposition: form-data",
    'Content-Disposition: form-data; name="data"; filename="../../etc/passwd"',
    'Content-Disposition: attachment; name="text"',
    'Content-Disposition: form-data; name="text"\r\nContent-Type: text/plain; charset=no-such',
    'Content-Disposition: form-data; name="text"\r\nContent-Type: application/json',
    'Content-Disposition: form-data; name="text"\r\nContent-Transfer-Encoding: base64',
    'Content-Disposition: form-data; name="text"\r\nContent-Length: 99999',
    "Content-Disposition: form-data; name=\"text\"; filename*=UTF-8''%zz", "Content-Type: text/plain", "", ":",
    "\xe9\xff: x",
    'Content-Disposition: form-data; name="a"\r\nContent-Type: multipart/mixed; boundary=b',
)  # fmt: skip
ENDINGS = ("--{b}--\r\n", "--{b}--", "", "--{b}", "--{b}-", "--other--\r\n")


# Forms with an extreme structure: a thousand fields, a boundary that is everywhere, a name of 60 kB.
def _many(fields: int, name: str, value: str, end: str) -> Case:
    part = f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
    return Case("form", body=(part * fields + end).encode(), content_type="multipart/form-data; boundary=b")


many = st.builds(
    _many, st.sampled_from((2, 64, 1_000)), st.sampled_from(("a", "text", "image", "data", "parameters", "n" * 60_000)),
    st.sampled_from(("", "x", "--b", "\r\n--b\r\n\r\n" * 9, '{"instances": []}')), st.sampled_from(("--b--\r\n", "")),
)  # fmt: skip


def _multipart(boundary: str, stated: str, parts: list[tuple[str, bytes]], newline: str, ending: str) -> Case:
    end = newline.encode()
    body = b"".join(
        f"--{boundary}".encode() + end + header.encode("latin-1") + end + end + content + end for header,
        content in parts
    )
    stated = stated.format(b=boundary)
    body += ending.format(b=boundary).encode()
    return Case("form", body=body, content_type=f"multipart/form-data{stated}")


STATED = ("; boundary={b}", '; boundary="{b}"', "; boundary=", "; boundary=other", "",
"; boundary={b}; charset=no-such")
parts = st.tuples(st.sampled_from(HEADERS), st.one_of(bodies, spoilt, structured))
multipart = st.builds(
    _multipart, st.sampled_from(BOUNDARIES), st.sampled_from(("; boundary={b}",) * 4 + STATED),
    st.lists(parts, max_size=3),
    st.sampled_from(("\r\n", "\r\n", "\r\n", "\n", "\r")), st.sampled_from(("--{b}--\r\n",) * 4 + ENDINGS),
)  # fmt: skip
pieces = st.sampled_from(("text", "image", "=", "&", ";", "%", "%zz", "%41", "+", "a", "%ff%fe", "[]", "\x00", "{}",
"%u0041"))
urlencoded = st.builds(
    lambda found: Case("form", body="".join(found).encode(), content_type="application/x-www-form-urlencoded"),
    st.lists(pieces, max_size=10),
)

# The forms that curl -d makes of a text with an equals sign, and forms with fields of other names. None may be
# answered.
KNOWN = re.compile("text|image|data|body|^ *{")
others = st.text(st.sampled_from("abcdtexTimg 019é中[]{}:',.-"), min_size=1, max_size=12).filter(
    lambda name: not KNOWN.search(name)
)


def _unnamed(name: str, value: str, as_part: bool) -> Case:
    if not as_part:
        return Case("form", body=f"{name}={value}".encode(), content_type="application/x-www-form-urlencoded",
                    refused=True)  # fmt: skip
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
    return Case("form", body=f"{head}{value}\r\n--b--\r\n".encode(), content_type="multipart/form-data; boundary=b",
                refused=True)  # fmt: skip


values = st.sampled_from((" mc2", '2"}', "1 and all the rest", "%41", "=", "a=b", '{"text": "a"}'))
unnamed = st.builds(_unnamed, others, values, st.booleans())

# The field data has the content of a body: a text that begins like JSON and is not JSON is no item there.
like_json = st.builds(
    lambda start, rest: replace(_unnamed("data", start + rest, True), refused=True),
    st.sampled_from(("[MASK] ", "[", "{", "[1] ", '{"text"')), st.text(st.sampled_from("abc [{,1"), max_size=12),
)  # fmt: skip


def cases(paths: st.SearchStrategy[str]) -> st.SearchStrategy[Case]:
    """Forms sent to one of ``paths``."""
    return st.builds(
        lambda case, path: replace(case, target=path),
        st.one_of(*[multipart] * 6, *[urlencoded] * 3, *[unnamed] * 3, like_json, many), paths,
    )  # fmt: skip
