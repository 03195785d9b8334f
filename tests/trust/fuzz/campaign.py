"""A campaign: bursts of mixed requests until the count is reached, judged one by one and counted.

Hypothesis draws the bursts from a seed. It shrinks a failing burst to the fewest and simplest requests that still break
a promise.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from serving.client import Client
from tests.trust.fuzz import explanations, forms, good, images, structures, tensors, texts, wire
from tests.trust.fuzz.case import Case, Reply
from tests.trust.fuzz.cost import Cost
from tests.trust.fuzz.good import Golden, plain, same
from tests.trust.fuzz.sender import Sender
from tests.trust.fuzz.verdict import fault

BURST = 16  # requests at once: two full batches


@dataclass
class Tally:
    """Counts of requests and answers, by kind and status."""

    by_kind: dict[str, Counter[str]] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Requests sent."""
        return sum(sum(counts.values()) for counts in self.by_kind.values())

    def add(self, kind: str, status: int) -> None:
        """Counts a request of that kind with the status of its answer (0: not answered)."""
        self.by_kind.setdefault(kind, Counter())[str(status) if status else "no answer"] += 1


class Campaign:
    """Requests to one server: to ``readers``, its text archives, and ``viewers``, its image archives."""

    def __init__(self, base: str, client: Client, readers: list[str], viewers: list[str]) -> None:
        self._client, self._names = client, [*readers, *viewers]
        self._texts, self._images = _paths(readers), _paths(viewers)
        self._tensors = tensors.cases(_paths(readers, TENSORS), _paths(viewers, TENSORS))
        self.sender = Sender(base, client, BURST)
        self.golden = Golden(lambda text: client.predict(readers[0], text, "text/plain").content)
        self.pids = self.workers()
        self.tally = Tally()
        workers = sorted({pid for pids in self.pids.values() for pid in pids})
        self.cost = Cost([*workers, psutil.Process(workers[0]).ppid()])  # the front end too
        images.files(), images.bombs(), structures.made_before()  # made now, not while Hypothesis draws

    def workers(self) -> dict[str, list[int]]:
        """The pids of each archive's workers, as TorchServe states them."""
        return {name: sorted(int(worker["pid"]) for worker in self._client.workers(name)) for name in self._names}

    def deaths(self) -> int:
        """The number of workers of the start that have ended."""
        now = self.workers()
        return sum(len(set(pids) - set(now[name])) for name, pids in self.pids.items())

    def run(self, requests: int, seed_value: int, progress: Callable[[int], None] = lambda sent: None) -> None:
        """Sends about ``requests``. Raises AssertionError with the smallest burst found that breaks a promise."""

        @seed(seed_value)
        @settings(max_examples=max(1, requests // BURST), database=None, deadline=None,
        phases=(Phase.generate, Phase.shrink),
                  suppress_health_check=list(HealthCheck), print_blob=False)  # fmt: skip
        @given(st.lists(self.mix(), min_size=BURST, max_size=BURST))
        def bursts(burst: list[Case]) -> None:
            self._burst(burst)
            progress(self.tally.total)

        try:
            bursts()
        finally:
            self.sender.close()

    def mix(self) -> st.SearchStrategy[Case]:
        """Requests of all kinds, good ones among them."""
        both = st.one_of(self._texts, self._images)
        crossed = st.one_of(*[self._texts] * 5, self._images)
        kinds = [*[texts.cases(crossed)] * 4, *[images.cases(self._images)] * 4, images.raw_cases(self._texts),
                 *[forms.cases(both)] * 2, *[wire.cases(both)] * 2, *[self._tensors] * 3,
                 explanations.cases(self._names)]  # fmt: skip
        return st.one_of(*kinds, *[good.cases(self._texts, self._images)] * 4)

    def _burst(self, burst: list[Case]) -> None:
        before = self.cost.clock()
        replies = self.sender.send_all(burst)
        found = [self._judge(case, reply) for case, reply in zip(burst, replies, strict=True)]
        found += self._costs(burst, before)
        found.append(self._again(burst, replies))
        found += [f"worker {pid} is gone" for pids in self.pids.values() for pid in pids if not psutil.pid_exists(pid)]
        problems = [problem for problem in found if problem]
        assert not problems, "\n".join(problems)

    def _costs(self, burst: list[Case], before: dict[int, float]) -> list[str]:
        problems = self.cost.judge(burst, self.cost.since(before), self._send_again)
        self.tally.faults.update({"CPU time": len(problems)} if problems else {})
        return problems

    def _send_again(self, case: Case) -> Reply:
        reply = self.sender.send(case)
        self.tally.add("again, alone", reply.status)
        return reply

    def _judge(self, case: Case, reply: Reply) -> str | None:
        self.tally.add(case.kind, reply.status)
        broken = fault(case, reply, self.golden)
        if broken is None:
            return None
        self.tally.faults[broken] += 1
        return f"{broken}: {case!r} was answered {reply.status} {reply.error} {reply.body[:300]!r}"

    def _again(self, burst: list[Case], replies: list[Reply]) -> str | None:
        """Sends the first hostile request that got an answer again, alone: the other requests of its batch must not
        have changed its answer."""
        for case, reply in zip(burst, replies, strict=True):
            if reply.status == 200 and not case.golden and not case.raw and case.kind != "explanation":
                alone = self._send_again(case)
                if alone.status == 200 and _agree(reply.body, alone.body):
                    return None
                self.tally.faults["wrong answer"] += 1
                return f"wrong answer: {case!r} was answered otherwise in company"
        return None


# Every way to ask an archive that takes any body, and those that take tensors.
ANY = ("/predictions/{0}", "/predictions/{0}", "/predictions/{0}/1.0", "/v1/models/{0}:predict", "/models/{0}/invoke",
       "/{0}/predict")  # fmt: skip
TENSORS = ("/v2/models/{0}/infer", "/v2/models/{0}/versions/1.0/infer")


def _paths(names: list[str], forms: tuple[str, ...] = ANY) -> st.SearchStrategy[str]:
    return st.sampled_from([form.format(name) for form in forms for name in names])


def _agree(one: bytes, other: bytes) -> bool:
    first, second = (next(iter(plain(json.loads(body)).values())) for body in (one, other))
    nested = isinstance(first[0], list)
    pairs = zip(first, second, strict=True) if nested else [(first, second)]
    return all(same(a, b) for a, b in pairs)
