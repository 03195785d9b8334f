"""Measures a running server: first its answers one by one, then a closed loop.

Knows the load test's client, which is the same for all servers. Knows neither peers nor the meaning of figures.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx2
from gevent.pool import Pool

from compare.answers import Vectors, in_form
from compare.errors import CompareError
from compare.seen import Seen
from compare.servers import Running
from export.catalog import model
from loadtest import stats
from loadtest.load.crew import Crew
from loadtest.load.payloads import Payload, payloads
from loadtest.load.rows import UNKNOWN, WRONG, Columns
from loadtest.load.target import Target
from loadtest.measure.trial import Rule, measure
from loadtest.measure.windows import cut
from serving.client import direct

ANSWER_TIMEOUT_S = 120
AT_ONCE = 16


@dataclass
class Visit:
    """A started server, measured as ``archive`` of ``model`` with requests in the peer's ``form``."""

    running: Running
    archive: str
    model: str
    vectors: Vectors
    form: str = ""

    def __post_init__(self) -> None:
        asked = [in_form(each, self.form) for each in payloads(model(self.model))]
        self.target = Target(
            self.running.host, self.archive, self.running.token, payloads=asked, model=model(self.model),
            route=self.running.route, golden=self.vectors,
        )  # fmt: skip

    def check(self) -> float:
        """Waits for the first answer, sends every payload alone, then several at once. Returns the smallest cosine of
        the answers to payloads sent alone. Raises CompareError.

        One connection may reach one worker only, and TorchScript compiles during a worker's first calls. Several
        requests at once warm up the other workers too.
        """
        with direct() as session:
            self._await(session)
            found = self.vectors.check(self.target.payloads, lambda each: self._ask(session, each))
        Pool(AT_ONCE).map(self._check_alike, [self.target.payloads[first::AT_ONCE] for first in range(AT_ONCE)])
        return found

    def _check_alike(self, some: Sequence[Payload]) -> None:
        with direct() as session:
            self.vectors.check(some, lambda each: self._ask(session, each))

    def load(self, crew: Crew, clients: int, window_s: float, windows: int) -> Seen:
        """A closed loop of ``clients``: one window to warm up, then a fixed number of windows that count."""
        before = self.running.processor_s()
        found = measure(crew.closed(self.target, clients), Rule(window_s, 1, windows, fixed=True))
        spent = sum(now - before.get(pid, 0.0) for pid, now in self.running.processor_s().items())
        columns = Columns.of(found.rows)
        counted = cut(columns, found.begin_us, found.window_us, found.windows, None)[found.warm_up_windows :]
        within = [row for row in found.rows if row.ended_us < found.begin_us + found.windows * found.window_us]
        answered = sum(not row.error for row in found.rows)
        return Seen(
            tuple(each.requests_per_s for each in counted),
            tuple(columns.latency[each.mask & columns.ok] for each in counted),
            sum(bool(row.error) for row in within) / len(within) if within else 0.0,
            sum(row.error == WRONG for row in within), tuple(sorted({row.error for row in within if row.error})),
            round(spent / answered * 1e3, 3) if answered else float("nan"), round(found.client_cpu, 3),
            _median_ms([row.inference_us for row in found.rows if row.inference_us != UNKNOWN]),
        )  # fmt: skip

    def _await(self, session: httpx2.Client) -> None:
        deadline, said = time.monotonic() + ANSWER_TIMEOUT_S, "nothing"
        while time.monotonic() < deadline:
            try:
                self._ask(session, self.target.payloads[0])
                return
            except CompareError as error:
                said = str(error)
            time.sleep(0.2)
        raise CompareError(f"does not answer after {ANSWER_TIMEOUT_S} s: {said}")

    def _ask(self, session: httpx2.Client, payload: Payload) -> bytes:
        try:
            reply = session.post(self.target.host + self.target.path, content=payload.body,
                                 headers=self.target.headers(payload), timeout=60)  # fmt: skip
        except httpx2.HTTPError as error:
            raise CompareError(f"gives no answer ({type(error).__name__})") from None
        if reply.is_error:
            raise CompareError(f"answers {payload.name} with {reply.status_code}: {reply.text[:120].strip()}")
        return reply.content


def _median_ms(values_us: list[int]) -> float | None:
    return round(stats.percentile(values_us, 50) / 1e3, 3) if values_us else None
