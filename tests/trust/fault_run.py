"""One server under continuous good and hostile requests, with one fault after the other.

Knows how to inject a fault and how to see whether the server is back. The test judges the run.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from serving.errors import ServingError
from serving.warm_up import Example
from tests.trust.disk import fill
from tests.trust.fuzz.campaign import Campaign
from tests.trust.fuzz.case import Case, Reply
from tests.trust.fuzz.good import Golden
from tests.trust.fuzz.verdict import fault
from tests.trust.place import Place, eventually

BACK_WITHIN_S = 30
POOL = 2000  # different requests, sent again and again
USERS = 4


def orphans(server: Place) -> list[psutil.Process]:
    """Processes of the place that are neither the Java process on record nor its children."""
    with suppress(psutil.NoSuchProcess):
        java = psutil.Process(server.state.pid)
        known = {java.pid, *(child.pid for child in java.children(recursive=True))}
        return [each for each in server.processes() if each.pid not in known]
    return server.processes()


def draw(cases: st.SearchStrategy[Case]) -> list[Case]:
    """POOL requests of a campaign's mix, good and hostile."""
    pool: list[Case] = []

    @settings(max_examples=POOL // 20, database=None, deadline=None, phases=[Phase.generate], derandomize=True,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(st.lists(cases, min_size=20, max_size=20))
    def collect(drawn: list[Case]) -> None:
        pool.extend(drawn)

    collect()
    return pool


def judged(case: Case, reply: Reply, golden: Golden) -> str:
    """The verdict on the reply: "right", or what is wrong with it. A revoked token is no wrong answer."""
    if reply.status in (400, 401, 403) and b"InvalidKeyException" in reply.body:
        return "token refused"
    if reply.status == 0:  # the server is down because of a fault
        return "no answer"
    return fault(case, reply, golden) or "right"


class Crowd:
    """Users who send the pool's requests in random order. ``verdicts`` counts the verdicts. ``wrong`` keeps the answers
    that no fault explains."""

    def __init__(self, campaign: Campaign, seed: int) -> None:
        self._campaign, self._over = campaign, threading.Event()
        self._pool, self._golden = draw(campaign.mix()), campaign.golden
        self.verdicts, self.good, self.wrong = Counter[str](), Counter[str](), list[str]()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, args=(random.Random(seed + n),)) for n in range(USERS)]

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, dice: random.Random) -> None:
        while not self._over.is_set():
            case = dice.choice(self._pool)
            try:
                reply = self._campaign.sender.send(case)
            except ServingError as error:  # no key file, or no server that renews a token
                reply = Reply(0, error=str(error))
            verdict = judged(case, reply, self._golden)
            with self._lock:
                self.verdicts[verdict] += 1
                self.good[verdict] += bool(case.golden)
                if verdict in ("wrong answer", "bad error body"):
                    self.wrong.append(f"{verdict}: {case!r} was answered {reply.status} {reply.body[:300]!r}")
            if reply.status in (0, 503):
                time.sleep(0.05)  # a refused client pauses


@dataclass
class Faults:
    """The faults of ``server``, one per method. Where TorchServe does not recover by itself, the method does what a
    user would do, and returns the instant of the user's last command. Such a start may take ``start_s`` more, the time
    of a start without load.

    ``disk`` is the small disk of the run folder, if there is one.
    """

    server: Place
    names: list[str]
    dice: random.Random
    start_s: float
    disk: Path | None = None
    struck: Counter[str] = field(default_factory=Counter)
    slowest: dict[str, float] = field(default_factory=dict)
    late: list[str] = field(default_factory=list)

    def strike(self, name: str) -> None:
        """Injects the fault, and waits until all archives answer again and no process is left over. ``late`` lists slow
        recoveries."""
        struck = time.monotonic()
        again = getattr(self, name)()
        within = BACK_WITHIN_S + (self.start_s if again else 0)
        eventually(self.answers, 4 * within)
        took = time.monotonic() - (again or struck)
        self.struck[name] += 1
        self.slowest[name] = max(self.slowest.get(name, 0.0), round(took, 1))
        print(f"{name}: back after {took:.1f} s", flush=True)
        if took > within:
            self.late.append(f"{name}: back after {took:.1f} s, not {within:.1f} s")
        eventually(lambda: not orphans(self.server), 10)

    def answers(self) -> bool:
        """Whether each archive answers its own example."""
        client = self.server.impatient_client
        try:
            found = [(name, Example.of(client.describe(name))) for name in self.names]
            return all(client.predict(name, each.body(), each.content_type).ok for name, each in found)
        except ServingError:
            return False

    def worker_killed(self) -> None:
        os.kill(self.server.worker(self.dice.choice(self.names)), signal.SIGKILL)

    def worker_stopped(self) -> None:
        pid = self.server.worker(self.dice.choice(self.names))
        os.kill(pid, signal.SIGSTOP)
        eventually(lambda: not psutil.pid_exists(pid), BACK_WITHIN_S)

    def java_stopped(self) -> None:
        pid = self.server.state.pid
        os.kill(pid, signal.SIGSTOP)
        time.sleep(self.dice.uniform(1, 5))
        os.kill(pid, signal.SIGCONT)

    def java_killed(self) -> float:
        os.kill(self.server.state.pid, signal.SIGKILL)
        again = time.monotonic()
        self.server.serve()
        return again

    def java_killed_and_two_start_it(self) -> float:
        os.kill(self.server.state.pid, signal.SIGKILL)
        again = time.monotonic()
        both = [self.server.begin("serve"), self.server.begin("serve")]
        said = [each.communicate(timeout=120) for each in both]
        assert [each.returncode for each in both] == [0, 0], said
        return again

    def serve_killed(self) -> float:
        os.kill(self.server.state.pid, signal.SIGKILL)
        started = self.server.begin("serve")
        time.sleep(self.dice.uniform(0.3, 6))
        started.kill()
        started.communicate()
        again = time.monotonic()
        self.server.serve()
        return again

    def unpacked_deleted(self) -> float:
        models = Path(self.server.state.temp, "models")
        models.rename(models.with_name("gone"))
        told = self.server.verb("status")
        assert told.returncode == 1 and "run: make stop serve" in told.stdout
        again = time.monotonic()
        assert self.server.verb("stop").returncode == 0
        self.slowest["make stop"] = max(self.slowest.get("make stop", 0.0), round(time.monotonic() - again, 1))
        self.server.serve()
        return again

    def disk_full(self) -> None:
        assert self.disk is not None
        fill(self.disk)
        time.sleep(self.dice.uniform(1, 3))
        (self.disk / "ballast").unlink()

    def token_expired(self) -> None:
        self._change_token({"expiration time": "2000-01-01T00:00:00Z"})

    def token_of_a_clock_ahead(self) -> None:
        """The key file says that a token is valid for long, but the server has revoked it."""
        self._change_token({"expiration time": "2999-01-01T00:00:00Z", "key": "wrong000"})

    def _change_token(self, fields: dict[str, str]) -> None:
        path = self.server.directory.key_file
        keys = json.loads(path.read_text())
        keys["inference"] |= fields
        aside = path.with_name("key_file.new")
        aside.write_text(json.dumps(keys))
        aside.replace(path)


def kinds(with_disk: bool) -> list[str]:
    """The faults by name; faults of workers occur most often."""
    rare = ["java_stopped", "java_killed", "java_killed_and_two_start_it", "serve_killed", "unpacked_deleted",
            "token_expired", "token_of_a_clock_ahead"]  # fmt: skip
    return [*["worker_killed"] * 4, *["worker_stopped"] * 2, *rare, *["disk_full"] * with_disk]
