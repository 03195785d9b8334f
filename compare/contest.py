"""The order of the measurements: every setting is tried briefly, then the best ones are measured in turns, A B C, C B
A.

Knows subjects, settings and loads. The results are ``tried``, ``finals`` and ``refused``. ranking.py evaluates them. A
subject that fails is kept with its reason, and the others are still measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from compare import plan
from compare.errors import CompareError
from compare.plan import Setting, Subject
from compare.request import Request
from compare.seen import Seen
from loadtest.errors import LoadTestError
from loadtest.measure.servers import ServerRunsError
from loadtest.measure.turns import interleaved
from serving.errors import ServingError

if TYPE_CHECKING:  # not at run time: they import Locust, which patches the process
    from compare.measure import Visit
    from loadtest.load.crew import Crew

EXPECTED = (CompareError, LoadTestError, ServingError)
BRIEF, THOROUGH = (0.5, 2), (1.0, 3)  # a window's length as a share of DURATION, and the number of windows that count
Open = Callable[[Subject, Setting], "AbstractContextManager[Visit]"]
Best = dict[tuple[str, int], Setting]
NEAR = 0.05


@dataclass(frozen=True)
class Tried:
    """A brief measurement of a setting at a load. ``seen`` is None if it failed, with the ``reason``."""

    subject: str
    setting: Setting
    clients: int
    seen: Seen | None
    reason: str = ""


@dataclass(frozen=True)
class Final:
    """A measurement of a subject at a load, in one turn of the finals."""

    subject: str
    setting: Setting
    clients: int
    turn: int
    seen: Seen
    cosine: float
    memory_mib: float


@dataclass
class Contest:
    """Measures ``subjects`` for ``request``. ``open_server`` yields a started server. ``say`` is called with each
    step."""

    request: Request
    subjects: Sequence[Subject]
    open_server: Open
    crew: Crew
    say: Callable[[str], None] = lambda text: None
    tried: list[Tried] = field(default_factory=list)
    finals: list[Final] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)

    def try_settings(self) -> None:
        """Tries every setting of the subjects with several settings."""
        for subject, setting in trials(self.subjects):
            self.say(f"{subject.title}: trying {setting.label}")
            try:
                self._try(subject, setting)
            except ServerRunsError:
                raise
            except Exception as error:  # an unknown error must not lose the measurements of the others
                self.tried += [Tried(subject.name, setting, count, None, said(error)) for count in self.request.clients]

    def _try(self, subject: Subject, setting: Setting) -> None:
        with self.open_server(subject, setting) as visit:
            visit.check()
            for count in plan.tried(setting, self.request.clients):
                seen = visit.load(self.crew, count, BRIEF[0] * self.request.window_s, BRIEF[1])
                self.tried.append(Tried(subject.name, setting, count, seen, reason_against(seen)))

    def measure(self) -> None:
        """Measures the finals: each subject with its best setting of each load."""
        best = self.best()
        for turn, subject in interleaved(list(self.subjects), self.request.rounds):
            for setting, loads in _by_setting(best, subject, self.request.clients):
                if subject.name in self.refused:
                    continue
                self.say(f"{subject.title}: turn {turn} of {self.request.rounds}, {setting.label}")
                try:
                    self._visit(subject, setting, loads, turn)
                except ServerRunsError:
                    raise
                except Exception as error:  # as above
                    self.refused[subject.name] = said(error)

    def _visit(self, subject: Subject, setting: Setting, loads: Sequence[int], turn: int) -> None:
        with self.open_server(subject, setting) as visit:
            cosine = visit.check()
            for count in sorted(loads, reverse=True):
                seen = visit.load(self.crew, count, THOROUGH[0] * self.request.window_s, THOROUGH[1])
                if seen.wrong:
                    raise CompareError(f"{reason_against(seen)}, with {count} clients")
                memory = visit.running.memory_mib()
                self.finals.append(Final(subject.name, setting, count, turn, seen, cosine, memory))

    def best(self) -> Best:
        """{(subject, clients): setting}. A subject with a single setting has that one. A subject is refused, with the
        reason, if none of its settings answered all requests."""
        found: Best = {}
        for subject in self.subjects:
            mine = [each for each in self.tried if each.subject == subject.name]
            found |= {(subject.name, count): setting for count, setting in self._best(subject, mine).items()}
            if not any((subject.name, count) in found for count in self.request.clients):
                reasons = [each.reason for each in mine if each.reason]
                self.refused.setdefault(subject.name, reasons[0] if reasons else "no setting could be measured")
        return found

    def _best(self, subject: Subject, mine: Sequence[Tried]) -> dict[int, Setting]:
        if len(subject.settings) == 1:
            return dict.fromkeys(self.request.clients, subject.settings[0])
        return best_of({(each.setting, each.clients): each.seen.mean for each in mine if each.seen and each.seen.sound})


def trials(subjects: Sequence[Subject]) -> Iterator[tuple[Subject, Setting]]:
    """The settings to try: those of the subjects with several settings."""
    return ((subject, each) for subject in subjects if len(subject.settings) > 1 for each in subject.settings)


def best_of(speeds: dict[tuple[Setting, int], float]) -> dict[int, Setting]:
    """The best setting of each load, by ``speeds`` (requests/s by setting and clients). A setting that is within
    ``NEAR`` of the best at several loads is taken for all of them: a brief measurement cannot distinguish such
    settings, and one setting needs only one server."""
    loads = dict.fromkeys(count for _, count in speeds)
    most = {count: max(speed for (_, each), speed in speeds.items() if each == count) for count in loads}
    near = {key for key, speed in speeds.items() if speed >= (1 - NEAR) * most[key[1]]}
    share = {setting: sum(each == setting for each, _ in near) for setting, _ in near}
    return {
        count: max((setting for setting, each in near if each == count),
                   key=lambda setting: (share[setting], speeds[setting, count]))
        for count in loads
    }  # fmt: skip


def said(error: Exception) -> str:
    """An error as a reason. An unknown error is shown with its type."""
    return str(error) if isinstance(error, EXPECTED) else f"{type(error).__name__}: {error}"


def reason_against(seen: Seen) -> str:
    """The reason against a setting at a load; "" if there is none."""
    if seen.wrong:
        return f"{seen.wrong} wrong answers under load"
    if seen.failed:
        return f"{seen.failed:.1%} of the requests failed ({', '.join(seen.errors)})"
    return "" if seen.sound else "no answer came within the windows"


def _by_setting(best: Best, subject: Subject, clients: Sequence[int]) -> list[tuple[Setting, list[int]]]:
    """The subject's best settings, each with the loads at which it is best. Each needs one server."""
    found: dict[Setting, list[int]] = {}
    for count in clients:
        if (subject.name, count) in best:
            found.setdefault(best[subject.name, count], []).append(count)
    return list(found.items())


def steps(subjects: Sequence[Subject], rounds: int) -> int:
    """An estimate of the number of servers to start: a subject has one or two best settings."""
    return len(list(trials(subjects))) + round(rounds * sum(1 if len(each.settings) == 1 else 1.5 for each in subjects))
