"""No request ends a worker, gets a 5xx or changes another answer: a fuzz, and the cases that fuzzing found."""

from __future__ import annotations

import base64
import gzip
import io
import json
import subprocess
import sys
import zlib
from dataclasses import replace
from subprocess import PIPE

import pytest
from PIL import Image

from export.cases import SAMPLES
from tests.trust.fuzz.campaign import Campaign
from tests.trust.fuzz.case import Case, Reply
from tests.trust.fuzz.cost import Cost
from tests.trust.fuzz.good import Golden, same
from tests.trust.fuzz.images import WRONG_EXIF, png
from tests.trust.fuzz.sender import Sender
from tests.trust.fuzz.verdict import fault

pytestmark = pytest.mark.served
TEXT, IMAGE = "minilm-torchscript", "digits-torchscript"


def test_bad_input_at_scale(served):
    """A short ``make fuzz``: hostile requests in bursts, good ones among them."""
    campaign = Campaign(served.config.inference, served.client, [TEXT], [IMAGE])
    campaign.run(420, seed_value=1)
    assert campaign.tally.total >= 420 and campaign.tally.by_kind["good"]["200"] >= 40
    assert not campaign.tally.faults and campaign.deaths() == 0


ROWS = (b"\0" + b"\xff" * 875) * 3_000 + bytes(876 * 4_000)  # white above black: a blank image is refused before
LARGE = base64.b64encode(png(7_000, 7_000, zlib.compress(ROWS, 9))).decode()
JSON = "application/json"


URLENCODED = "application/x-www-form-urlencoded"  # curl -d labels every body so


def to(name: str, body: bytes | dict, content_type: str) -> Case:
    content = json.dumps(body).encode() if isinstance(body, dict) else body
    return Case("regression", f"/predictions/{name}", content, content_type)


def part(headers: bytes) -> Case:
    return to(TEXT, b"--b\r\n" + headers + b"\r\n\r\nhi\r\n--b--\r\n", "multipart/form-data; boundary=b")


def wrong_exif() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30)).save(buffer, "JPEG", exif=WRONG_EXIF + bytes(4))
    return buffer.getvalue()


def on_the_wire(start: bytes) -> Case:
    return Case("regression", raw=start + b" HTTP/1.1\r\nAuthorization: Bearer {token}\r\nContent-Length: 2\r\n\r\nhi")


# Each of these was a 5xx once. The first two also ended the worker, as did the strip below.
FOUND = {
    "64 images of 49 megapixels in half a megabyte": (to(IMAGE, {"image": [LARGE] * 64}, JSON), 413, "together"),
    "64 texts of 100,000 characters": (to(TEXT, {"text": ["a b " * 25_000] * 64}, JSON), 413, "together"),
    "a photograph whose EXIF does not fit its types": (to(IMAGE, wrong_exif(), "image/jpeg"), 400, "corrupted"),
    "a form's part without a disposition": (part(b"Content-Type: text/plain"), 400, ""),
    "a form's part without a name": (part(b"Content-Disposition: form-data"), 400, ""),
    "a form without a boundary": (to(TEXT, b"--b--", "multipart/form-data; boundary="), 400, "Content-Type"),
    "a form's part in an unknown charset": (
        part(b'Content-Disposition: form-data; name="text"\r\nContent-Type: a/b; charset=x'), 400, "UnsupportedCharset",
    ),
    "a bad escape in a form": (to(TEXT, b"text=%zz", "application/x-www-form-urlencoded"), 400, "hex"),
    "a form's field without a name": (to(TEXT, b"=hi", "application/x-www-form-urlencoded"), 400, "empty name"),
    "a request target of *": (on_the_wire(b"OPTIONS *"), 400, ""),
    "a request target without a slash": (on_the_wire(b"POST foo"), 400, ""),
}  # fmt: skip


@pytest.fixture
def sender(served):
    sender = Sender(served.config.inference, served.client, 1)
    yield sender
    sender.close()


@pytest.mark.parametrize("found", FOUND)
def test_requests_that_fuzzing_found_are_refused_with_a_4xx(served, sender, found):
    case, status, says = FOUND[found]
    pids = {name: [worker["pid"] for worker in served.client.workers(name)] for name in (TEXT, IMAGE)}
    reply = sender.send(case)
    assert reply.status == status, reply
    body = json.loads(reply.body)
    assert body.keys() == {"code", "type", "message"} and body["code"] == status and says in body["message"]
    assert pids == {name: [worker["pid"] for worker in served.client.workers(name)] for name in (TEXT, IMAGE)}


def test_a_blank_strip_of_49_million_pixels_in_65_kb_is_refused_and_the_worker_lives(served, sender):
    pids = [worker["pid"] for worker in served.client.workers(IMAGE)]
    reply = sender.send(to(IMAGE, png(1, 49_000_000, zlib.compress(bytes(64 << 20), 9)), "image/png"))
    assert reply.status == 400 and b"blank" in reply.body, reply
    assert pids == [worker["pid"] for worker in served.client.workers(IMAGE)]


DRAWING = Image.open(SAMPLES / "seven.png").convert("L").resize((300, 300))  # as a BMP larger than the limit of a form


def encoded(format: str) -> bytes:
    buffer = io.BytesIO()
    DRAWING.save(buffer, format)
    return buffer.getvalue()


UNMISTAKABLE = {
    "JSON with an equals sign": (TEXT, b'{"text": "1+1=2"}', JSON),
    "JSON with a form's other signs": (TEXT, b'\n {"text": ["a&b=c", "50%25", "%zz"]}', JSON),
    "JSON larger than a form may be": (TEXT, b'{"text": "' + b"a=b " * 20_000 + b'"}', JSON),
    "KServe's JSON": (TEXT, b'{"instances": ["a=b"]}', JSON),
    "a word": (TEXT, b"hello", "text/plain"),
    "a sentence": (TEXT, "It's a sentence, für wahr; isn't it?".encode(), "text/plain"),
    **{f"a {each}": (IMAGE, encoded(each), "image/x") for each in ("PNG", "JPEG", "GIF", "BMP", "WEBP")},
}


@pytest.mark.parametrize("sent", UNMISTAKABLE)
def test_a_body_that_cannot_be_a_form_is_read_by_its_real_type_if_labelled_as_one(sender, sent):
    name, body, true_type = UNMISTAKABLE[sent]
    reply, expected = (json.loads(sender.send(to(name, body, kind)).body) for kind in (URLENCODED, true_type))
    (key,) = expected
    assert key in ("embedding", "embeddings", "predictions") and reply.keys() == {key}
    assert same(*[value[0] if isinstance(value[0], list) else value for value in (reply[key], expected[key])])


@pytest.mark.parametrize(
    "body", [b"E = mc2", b"1+1", b"100%25", b"R&D", b"upload=hi", b'["a", "b"]', b'"hello"', b"text=", b"[MASK]"]
)
def test_a_body_that_may_be_a_form_is_refused_with_the_header_to_add(sender, body):
    reply = sender.send(to(TEXT, body, URLENCODED))
    message = json.loads(reply.body).get("message", "")
    assert reply.status == 400 and "-H 'Content-Type: text/plain'" in message, reply
    assert "-H 'Content-Type: application/json'" in message


def test_a_gzip_body_is_decompressed_and_answered(sender):
    file = (
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + encoded("PNG") + b"\r\n--b--\r\n"
    )
    sent = (
        (to(TEXT, b'{"text": "hello"}', JSON), "embedding"),
        (to(IMAGE, encoded("PNG"), "image/png"), "predictions"),
        (to(IMAGE, file, "multipart/form-data; boundary=b"), "predictions"),
    )
    for case, golden in sent:
        packed = sender.send(replace(case, body=gzip.compress(case.body), encoding="gzip"))
        assert packed.status == 200 and same(*[json.loads(each.body)[golden] for each in (packed, sender.send(case))])
    unnamed = sender.send(to(TEXT, gzip.compress(b"hello"), "text/plain"))
    assert unnamed.status == 400 and b"send the header Content-Encoding: gzip" in unnamed.body


BURNER = """
import sys, time
for line in sys.stdin:
    end = time.process_time() + float(line)
    while time.process_time() < end: pass
    print(flush=True)
"""


def test_a_too_costly_request_is_found_in_its_burst():
    """A process that uses as many CPU seconds as a request's body states."""
    with subprocess.Popen([sys.executable, "-c", BURNER], stdin=PIPE, stdout=PIPE, text=True) as burner:

        def send(case):
            burner.stdin.write(case.body.decode() + "\n")
            burner.stdin.flush()
            burner.stdout.readline()

        def judged(*seconds):
            burst, before = [Case("text", body=str(each).encode()) for each in seconds], cost.clock()
            [send(case) for case in burst]
            return cost.judge(burst, cost.since(before), send)

        send(Case("text", body=b"0"))  # it has started
        cost = Cost([burner.pid], bound_s=0.2)
        assert judged(0, 0.01) == [] and cost.by_kind == {}
        assert judged(*[0.05] * 6) == []  # costly together, and each alone is cheap
        (problem,) = judged(0, 0.3, 0)
        assert "body=b'0.3') took 0.3 s" in problem and 0.25 < cost.by_kind["text"] < 0.5
        burner.stdin.close()


RIGHT = json.dumps({"embedding": [1.0] + [0.0] * 383}).encode()


class TestTheJudge:
    """The fuzz can fail: replies that the judge must reject."""

    golden = Golden(lambda text: b'{"embedding": [1.0, 0.0]}')
    text = Case("good", body=b"x", golden=next(iter(golden._embeddings)))
    hostile = Case("text", body=b"x")

    @pytest.mark.parametrize(
        ("case", "reply", "expected"),
        [
            (hostile, Reply(500, b'{"code": 500, "type": "a", "message": "b"}'), "5xx"),
            (hostile, Reply(0, error="ConnectionError"), "no answer"),
            (hostile, Reply(400, b"no JSON"), "bad error body"),
            (hostile, Reply(400, b'{"code": 404, "type": "a", "message": "b"}'), "bad error body"),
            (hostile, Reply(413, b"", by_handler=True), "bad error body"),
            (hostile, Reply(302, b""), "bad error body"),
            (Case("form", refused=True), Reply(200, RIGHT, by_handler=True), "wrong answer"),
            (Case("form", refused=True), Reply(415, b'{"code": 415, "type": "a", "message": "b"}'), None),
            (hostile, Reply(200, b'{"embedding": [NaN]}', by_handler=True), "wrong answer"),
            (hostile, Reply(200, b'{"predictions": []}', by_handler=True), "wrong answer"),
            (text, Reply(200, b'{"embedding": [0.0, 1.0]}', by_handler=True), "wrong answer"),
            (text, Reply(400, b'{"code": 400, "type": "a", "message": "b"}'), "wrong answer"),
            (text, Reply(200, b'{"embedding": [1.0, 0.0]}', by_handler=True), None),
            (hostile, Reply(400, b'{"code": 400, "type": "a", "message": "b"}'), None),
            (hostile, Reply(413, b""), "bad error body"),
            (Case("wire", raw=b"x"), Reply(0, error="ConnectionResetError"), None),
        ],
    )
    def test_verdicts(self, case, reply, expected):
        assert fault(case, reply, self.golden) == expected
