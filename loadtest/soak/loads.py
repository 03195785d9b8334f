"""The loads of a soak: good requests to each archive, and bad requests of each kind that users send.

Every bad request must get a 4xx and must not affect other requests. Knows bodies and content types by task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from export.catalog import Model, Row
from loadtest.load.arrivals import Segment, schedule
from loadtest.load.engine import OpenLoop
from loadtest.load.payloads import Payload, payloads
from loadtest.measure.servers import Server

SHARE_BAD = 0.2  # of the rate of good requests
TEXT = (
    Payload("empty", b"", "text/plain"),
    Payload("not-utf-8", b"\xff\xfe\xfd", "text/plain"),
    Payload("half-json", b'{"text": ', "application/json"),
    Payload("a-number", b'{"text": 5}', "application/json"),
    Payload("too-many", b'{"text": [' + b'"a", ' * 64 + b'"a"]}', "application/json"),
    Payload("too-long", b"a " * 60_000, "text/plain"),
)
IMAGE = (
    Payload("empty", b"", "image/png"),
    Payload("no-image", b"not an image" * 100, "image/png"),
    Payload("no-base64", b'{"image": "%%"}', "application/json"),
    Payload("no-field", b'{"picture": ""}', "application/json"),
)


def bad_payloads(model: Model) -> tuple[Payload, ...]:
    """Payloads that ``model`` must refuse; for images also a truncated real image."""
    if model.kind != "image":
        return TEXT
    good = payloads(model)[0]
    return (*IMAGE, Payload("cut-short", good.body[: len(good.body) // 2], good.content_type))


def loads(server: Server, rows: Sequence[Row], rate: float, seconds: float, seed: int) -> dict[str, OpenLoop]:
    """Per archive, ``rate`` good requests a second as "<archive>", and a fifth as many bad ones as "<archive> bad"."""
    made = {}
    for number, row in enumerate(rows):
        good = server.target(row.name)
        good.golden = good.record_golden()
        bad = replace(good, golden=None, payloads=bad_payloads(row.model))
        for is_bad, target, name in ((False, good, row.name), (True, bad, f"{row.name} bad")):
            span = [Segment(seconds, rate * (SHARE_BAD if is_bad else 1))]
            made[name] = OpenLoop(target, schedule("poisson", span, seed + 2 * number + is_bad))
    return made
