"""A small closed-loop load for tests that inject faults: threads with one request each, and every answer is checked.

Knows requests and their answers. It does not use Locust, which patches the process that imports it.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import requests

from loadtest.load.golden import Golden
from loadtest.load.payloads import Payload, payloads
from loadtest.load.target import model_of
from tests.trust.place import Place


@dataclass(frozen=True)
class Answered:
    """A request: instants by time.monotonic(), its status (0: no answer), and whether its answer is right."""

    began: float
    ended: float
    status: int
    right: bool

    @property
    def failed(self) -> bool:
        """Whether the user got no right answer."""
        return not self.right


class Load:
    """``users`` threads that send an archive its payloads from entry to exit, and add to ``rows``."""

    def __init__(self, place: Place, name: str, users: int = 4) -> None:
        chosen = model_of(name)
        self._url = f"{place.config.inference}/predictions/{name}"
        self._headers = {"Authorization": f"Bearer {place.client.token()}"}
        self._payloads, self.rows, self._over = payloads(chosen), list[Answered](), threading.Event()
        self._golden = Golden.record(chosen.task, self._payloads, lambda each: self._post(requests, each).content)
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(users)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def failed(self) -> list[Answered]:
        """The requests without a right answer."""
        return [row for row in self.rows if row.failed]

    def right_since(self, instant: float) -> int:
        """How many requests that began after ``instant`` have been answered right."""
        return sum(row.right and row.began > instant for row in self.rows)

    def _post(self, session: object, payload: Payload) -> requests.Response:
        headers = {**self._headers, "Content-Type": payload.content_type}
        return session.post(self._url, data=payload.body, headers=headers, timeout=60)  # type: ignore[attr-defined]

    def _ask(self, number: int) -> None:
        with requests.Session() as session:
            while not self._over.is_set():
                payload, began = self._payloads[number % len(self._payloads)], time.monotonic()
                number += 1
                try:
                    reply = self._post(session, payload)
                    status, right = reply.status_code, reply.ok and self._golden.matches(payload, reply.content)
                except requests.RequestException:
                    status, right = 0, False
                self.rows.append(Answered(began, time.monotonic(), status, right))
                if not right:
                    time.sleep(0.02)  # a refused client pauses
