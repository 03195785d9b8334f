"""Versions of an archive that can be told apart (``null`` unless another is named), and a steady load that records
which version answered."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import requests

from serving.versions import folder_of
from tests.trust.place import Place, rewrite

HANDLER = "null.py"  # the entry, which TorchServe needs at the top
# Each worker of that version puts the mark into its answers, whichever version TorchServe means to ask.
MARKED = """
    def _respond(self, job, context, row):
        context.set_response_header(row, "x-mark", {mark!r})
        return super()._respond(job, context, row)
"""
TAKES_A_WHILE = """
    def accept(self, items):
        __import__("time").sleep(0.005)
        return super().accept(items)
"""
SLOW = TAKES_A_WHILE.replace("0.005", "0.4")
ANSWERS_WRONG = """
    def answer(self, batch, index, outputs, options):
        return ["wrong"]
"""
DIES = """
    def prepare(self):
        raise OSError("disk on fire")
"""
DIES_SILENTLY = """
    def prepare(self):
        __import__("os")._exit(9)
"""
NOW_AND_THEN_SLOW = """
    def read(self, payload):
        __import__("time").sleep(0.1 if len(payload.raw) % 4 == 0 else 0)
        return [None]
"""
# Slow for every 50th request of a client: others wait behind it.
SLOW_ON_CLIENTS = """
    clients = 0

    def read(self, payload):
        self.clients += bytes(payload.raw) == b"of a client"
        if self.clients == 50:
            self.clients = 0
            __import__("time").sleep(0.4)
        return [None]
"""
WRONG_ON_CLIENTS = """
    def read(self, payload):
        return ["wrong" if bytes(payload.raw) == b"of a client" else None]

    def collate(self, items):
        return Batch((np.zeros(len(items), dtype=np.uint8),), context=items)

    def answer(self, batch, index, outputs, options):
        return ["wrong"] if batch.context[index] == "wrong" else []
"""
# One line in its worker's log for each of them.
LOGS_CLIENTS = """
    def accept(self, items):
        if "wrong" in items:
            print("seen of a client", flush=True)
        return super().accept(items)
"""
FAILS_ON_CLIENTS = """
    def read(self, payload):
        assert bytes(payload.raw) != b"of a client"
        return [None]
"""


def add(place: Place, version: str, *changes: str, name: str = "null", handler: str = HANDLER) -> Path:
    """Puts a version of a served archive with these changes of its handler into the place's store, not served."""
    folder = folder_of(place.store, version)
    folder.mkdir(parents=True)
    target = folder / f"{name}.mar"
    target.write_bytes((place.store / target.name).read_bytes())

    def change(name: str, data: bytes) -> bytes:
        if name == "MAR-INF/MANIFEST.json":
            manifest = json.loads(data)
            manifest["model"]["modelVersion"] = version
            return json.dumps(manifest).encode()
        if name != handler:
            return data
        return data + "".join((MARKED.format(mark=version), *changes)).encode()  # later methods replace earlier ones

    rewrite(target, change)
    return target


class Answer(NamedTuple):
    """A request: instants by time.monotonic(), its status (0: none), the version stated by the front end and by the
    worker."""

    began: float
    ended: float
    status: int
    version: str | None
    mark: str | None


class Steady:
    """Requests at a constant rate from entry to exit, whatever the server does, and probes of its health."""

    def __init__(
        self, place: Place, rate: float = 50, body: bytes = b"x", name: str = "null", content_type: str = "text/plain"
    ) -> None:
        self._url, self._rate, self._body = f"{place.config.inference}/predictions/{name}", rate, body
        self._probes = [f"{place.config.inference}{path}" for path in ("/ping", "/v2/health/ready")]
        self._headers, self._type = {"Authorization": f"Bearer {place.client.token()}"}, content_type
        self._over, self._local, self.answers, self.unwell = threading.Event(), threading.local(), list[Answer](), []
        self._pool = ThreadPoolExecutor(16)
        self._thread = threading.Thread(target=self._go_on)

    def __enter__(self) -> Steady:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._pool.shutdown(cancel_futures=True)  # if the machine is too busy to send them all in time

    def _go_on(self) -> None:
        began = time.monotonic()
        for number in range(1_000_000):
            if self._over.wait(max(0.0, began + number / self._rate - time.monotonic())):
                return
            self._pool.submit(self._ask)
            if number % 10 == 0:
                self._pool.submit(self._probe)

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
        return self._local.session

    def _ask(self) -> None:
        began = time.monotonic()
        headers = {**self._headers, "Content-Type": self._type}
        try:
            reply = self._session().post(self._url, data=self._body, headers=headers, timeout=60)
            found = reply.status_code, reply.headers.get("x-model-version"), reply.headers.get("x-mark")
        except requests.RequestException:
            found = 0, None, None
        self.answers.append(Answer(began, time.monotonic(), *found))

    def _probe(self) -> None:
        for url in self._probes:
            reply = self._session().get(url, headers=self._headers, timeout=60)
            if reply.status_code != 200 or "Partial" in reply.text:
                self.unwell.append((url, reply.status_code, reply.text))

    def statuses(self) -> Counter[int]:
        """How often each status occurred."""
        return Counter(each.status for each in self.answers)

    def versions(self) -> set[tuple[str | None, str | None]]:
        """Each pair of (version by the front end, mark of the worker) that occurred."""
        return {(each.version, each.mark) for each in self.answers}

    def returns(self, old: str, new: str) -> list[Answer]:
        """Answers of ``old`` to requests that began after an answer of ``new`` had been received."""
        first = min((each.ended for each in self.answers if each.version == new), default=float("inf"))
        return [each for each in self.answers if each.version == old and each.began > first]
