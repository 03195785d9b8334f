"""The record of one request, for the request log and the traces: while the front holds it, and after its end.

It has no content, path or token of the request. The forms of a line and of a trace are those of
serving/front_end/java/frontend (RequestLine, TraceLine). Times are those of ``time.monotonic_ns``.
"""

from __future__ import annotations

import json
import re
import time
from datetime import datetime, timezone
from typing import Any

from deploy.ray.archive import Answer, Labels
from deploy.ray.watch.trace_context import TraceContext

STAGES = ("preprocess", "inference", "postprocess")
COUNTS = ("batch-size", "tokens", "pixels")
APIS = ("predictions", "explanations", "v1", "v2")
PROBE = re.compile(r"/(?:ping|v2/health/(?:live|ready)|v2/models/[^/]+(?:/versions/[^/]+)?/ready)")
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
KINDS = ("bad_request", "token", "not_found", "too_large", "unsupported_media_type", "timeout", "client_gone",
         "queue_full", "no_worker", "memory_full", "busy", "out_of_memory", "worker_died", "internal")  # fmt: skip
BY_STATUS = {401: "token", 404: "not_found", 405: "not_found", 408: "timeout", 413: "too_large",
             415: "unsupported_media_type", 503: "busy", 507: "out_of_memory"}  # fmt: skip
GPU_MEMORY = b'"OutOfMemory"'  # the type that handlers/errors.py gives it
MILLISECOND = 1_000_000


def kind_of(status: int, body: bytes) -> str:
    """The kind of error of an answer; "" for an answer of the model."""
    if status < 400:
        return ""
    if status == 503 and GPU_MEMORY in body:
        return "out_of_memory"
    return BY_STATUS.get(status, "bad_request" if status < 500 else "internal")


def millis(nanos: int) -> str:
    """A time in the form of an answer's headers: "12.345"."""
    return f"{max(nanos, 0) // 1_000 / 1e3:.3f}"


class Record:
    """A request from its head on."""

    def __init__(self, path: str, method: str, peer: str, identity: str, trace: TraceContext | None) -> None:
        self.method, self.peer, self.trace = method, peer, trace
        first = path.split("/")[1] if "/" in path else ""
        self.api = first if first in APIS else "other"
        self.is_probe = PROBE.fullmatch(path.rstrip("/")) is not None
        # Ray puts the client's own id on the answer. An id in another form than Ray's may hold anything, so it is not
        # kept.
        self.id = identity if UUID.fullmatch(identity) else ""
        self.began = self.whole = time.monotonic_ns()
        self.ended = self._clock = self.handed = self.taken = 0
        self.bytes_in = self.bytes_out = self.status = 0
        self.kind = ""  # the model, once it is known
        self.labels: Labels | None = None  # of the model, where one is known
        self.facts: dict[str, str] | None = None  # headers of a replica's answer

    def received(self, size: int) -> None:
        """Its last byte has arrived."""
        self.whole, self.bytes_in = time.monotonic_ns(), size

    def hands(self, labels: Labels | None) -> None:
        """It is sent to a replica of the model."""
        self.handed, self.labels = time.monotonic_ns(), labels

    def served(self, answer: Answer) -> None:
        """A replica answered. All time outside the batch counts as waiting, including the transfers."""
        self.taken = max(self.handed, time.monotonic_ns() - round(answer.busy_s * 1e9))
        self.facts, self.labels = answer.headers, answer.labels

    def ends(self, status: int, size: int, kind: str) -> None:
        """It is over. ``status`` is 0 if the client was gone."""
        self.status, self.bytes_out, self.kind = status, size, kind
        self.ended, self._clock = time.monotonic_ns(), time.time_ns()

    def since_epoch(self, nanos: int) -> int:
        """A time as nanoseconds since 1970."""
        return self._clock - (self.ended - nanos)

    def stage(self, name: str) -> float | None:
        """A stage's milliseconds."""
        said = (self.facts or {}).get(f"x-{name}-ms")
        return float(said) if said else None

    def counts(self) -> dict[str, int]:
        """Batch size, tokens and pixels, if known."""
        facts = self.facts or {}
        return {name.replace("-", "_"): int(facts[f"x-{name}"]) for name in COUNTS if int(facts.get(f"x-{name}", 0))}

    def line(self, clients: bool) -> str:
        """The line of the request log. ``clients``: with the client's address."""
        model, variant, version = self.labels or ("", "", "")
        found: dict[str, Any] = {"time": _utc(self.since_epoch(self.began)), "api": self.api}
        found |= {"method": self.method, "model": model, "variant": variant, "version": version}
        found |= {"status": self.status or "", "error": self.kind, "receive_ms": _ms(self.whole - self.began)}
        if self.facts is not None:
            found["queue_ms"] = _ms(self.taken - self.handed)
            found |= {f"{name}_ms": taken for name in STAGES if (taken := self.stage(name)) is not None}
            found |= self.counts()
        found |= {"total_ms": _ms(self.ended - self.began), "bytes_in": self.bytes_in, "bytes_out": self.bytes_out}
        found |= {"request_id": self.id, "trace_id": self.trace.trace if self.trace else ""}
        found["client"] = self.peer if clients else ""
        return json.dumps({key: value for key, value in found.items() if value != ""}, separators=(",", ":"))

    def traced(self, trace: TraceContext) -> str:
        """The line for serving/tracing/export.py, which makes spans of it."""
        made = {"trace": trace.trace, "parent": trace.parent, "state": trace.state}
        times = {"begin": self.since_epoch(self.began), "end": self.since_epoch(self.ended)}
        found = {"error": self.kind or None, "attributes": self._attributes(), "stages": self.stages()}
        return json.dumps({**made, **times, **found})

    def _attributes(self) -> dict[str, Any]:
        model, variant, version = self.labels or ("", "", "")
        found: dict[str, Any] = {"tsi.api": self.api, "http.request.method": self.method}
        found |= {"http.response.status_code": self.status or "", "tsi.model": model, "tsi.variant": variant}
        found |= {"tsi.version": version, **{f"tsi.{name}": count for name, count in self.counts().items()}}
        found["tsi.request_id"] = self.id
        return {key: value for key, value in found.items() if value != ""}

    def stages(self) -> list[tuple[str, int, int]]:
        """(name, begin, end) of each stage that the request reached, in nanoseconds since 1970."""
        if self.facts is None:
            return []
        made, at = [("queue", self.since_epoch(self.handed), self.since_epoch(self.taken))], self.taken
        for name in STAGES:
            if (taken := self.stage(name)) is not None:
                end = at + round(taken * MILLISECOND)
                made.append((name, self.since_epoch(at), self.since_epoch(end)))
                at = end
        return made


def _ms(nanos: int) -> float:
    return max(nanos, 0) // 1_000 / 1e3


def _utc(nanos: int) -> str:
    seconds, rest = divmod(nanos, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%dT%H:%M:%S}.{rest // MILLISECOND:03d}Z"
