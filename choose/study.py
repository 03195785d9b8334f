"""The search: asks optuna which configuration to measure next, and keeps every answer in an SQLite file.

Knows trials and time; the caller passes the function that measures one. Everything is kept in the file. A process that
opens it again continues the search, in the same order for the same seed. A trial that was cut off is marked and
measured again.
"""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from choose.objective import Worth, worth
from choose.outcome import Outcome, Point
from choose.request import Request
from choose.space import SETTINGS, Configuration, Space
from loadtest.errors import LoadTestError
from loadtest.measure.servers import ServerRunsError
from serving.errors import ServingError

FILE = "study.db"
STARTUP = 5  # trials before the sampler uses its model
SKIPS = 8  # unusable proposals in a row, after which an unmeasured configuration is drawn at random
HOPELESS = 0.5  # share of the best seen at the same load
FAILURES = 3  # failures in a row from the first trial on, after which the machine is at fault and not the configuration

Evaluate = Callable[[Configuration, Callable[[Point], None]], Outcome]


class Hopeless(BasePruner):
    """Prunes a trial that reaches less than half of the best seen at a load that keeps all its workers busy.

    With fewer users, more workers have no effect yet, so such loads are not judged.
    """

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Judges the last point reported."""
        load = trial.last_step
        if load is None or load < max(4, 2 * trial.user_attrs["configuration"]["workers"]):
            return False
        others = [each.intermediate_values[load] for each in study.get_trials(deepcopy=False)
                  if each.state == TrialState.COMPLETE and load in each.intermediate_values]  # fmt: skip
        return bool(others) and trial.intermediate_values[load] < HOPELESS * max(others)


@dataclass(frozen=True)
class Record:
    """A trial that was measured, or was begun and failed. ``state`` is "complete", "pruned" or "failed"."""

    number: int
    state: str
    configuration: Configuration
    outcome: Outcome
    worth: Worth
    seconds: float
    reason: str = ""


@dataclass
class Search:
    """Searches ``space`` for ``request``; ``evaluate`` measures a configuration. ``folder`` keeps the study; without a
    folder it is kept in memory. ``prior`` is measured first, after the default. ``say`` is called with each trial as it
    begins.
    """

    folder: Path | None
    request: Request
    space: Space
    evaluate: Evaluate
    prior: Sequence[Configuration] = ()
    say: Callable[[str], None] = lambda text: None
    study: optuna.Study = field(init=False)

    def __post_init__(self) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)
        self.study = optuna.create_study(
            storage=f"sqlite:///{self.folder / FILE}" if self.folder else None, study_name="choose",
            load_if_exists=True, direction="maximize", pruner=Hopeless(),
        )  # fmt: skip
        self._fail_stale()
        for each in dict.fromkeys([self.space.default, *self.prior]):
            if self.space.allows(each):
                self.study.enqueue_trial(self._parameters(each), skip_if_exists=True)

    # Results so far

    def records(self) -> list[Record]:
        """The trials that were measured, in order, numbered from 0."""
        kept = [each for each in self.study.get_trials(deepcopy=False) if "result" in each.user_attrs]
        return [self._record(number, each) for number, each in enumerate(kept)]

    def best(self) -> Record | None:
        """The best trial that meets the objective."""
        met = [each for each in self.records() if each.worth.meets]
        return max(met, key=lambda each: each.worth.value, default=None)

    def spent_s(self) -> float:
        """Seconds that trials have taken, in this run and in those before, as far as they are on record."""
        trials = self.study.get_trials(deepcopy=False)
        spent: float = sum(each.user_attrs.get("seconds", 0.0) for each in trials)
        return spent

    def _record(self, number: int, trial: FrozenTrial) -> Record:
        result = trial.user_attrs["result"]
        outcome, state, reason = outcome_of(result["outcome"]), result["state"], result["reason"]
        found = worth(self.request, outcome)
        if state != "complete":
            found = Worth(False, None, found.value, found.point, reason)
        return Record(number, state, Configuration(**trial.user_attrs["configuration"]), outcome, found,
                      trial.user_attrs["seconds"], reason or found.reason)  # fmt: skip

    # The search itself

    def run(self, budget_s: Callable[[], float]) -> None:
        """Measures until ``budget_s()`` seconds are spent, TRIALS are done, or nothing is left to measure.

        The default is measured in any case. Raises ServerRunsError, and ServingError where the first trials fail one
        after the other, or all of them fail.
        """
        while not self._finished(budget_s()):
            trial = self._ask()
            if trial is None:
                break
            self._measure(trial, Configuration(**trial.user_attrs["configuration"]))
        self._require_success(len(self.records()))

    def _finished(self, budget_s: float) -> bool:
        done = len(self.records())
        if not done:
            return False
        return self.spent_s() >= budget_s or (self.request.trials is not None and done >= self.request.trials)

    def _ask(self) -> optuna.Trial | None:
        """The next trial, its configuration among its attributes; None when every configuration was measured."""
        measured = {each.configuration for each in self.records()}
        if len(measured) % 2 and not self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            self._enqueue_beside_the_best(measured)
        for attempt in range(2 * SKIPS):
            if attempt == SKIPS and not self._enqueue_any(measured):
                return None
            # The sampler is made anew each time. So its proposals depend only on the seed and on what was measured, and
            # not on how often the process was ended and started again.
            number = 2 * SKIPS * len(measured) + attempt
            self.study.sampler = optuna.samplers.TPESampler(
                seed=self.request.seed * 100_003 + number, multivariate=True, n_startup_trials=STARTUP,
                constant_liar=False,
            )  # fmt: skip
            trial = self.study.ask(self._distributions())
            proposed = self._configuration(trial.params)
            if self.space.allows(proposed) and proposed not in measured:
                trial.set_user_attr("configuration", asdict(proposed))
                return trial
            self.study.tell(trial, state=TrialState.FAIL)
        return None

    def _enqueue_any(self, measured: set[Configuration]) -> bool:
        left = [each for each in self.space.all() if each not in measured]
        if left:
            self.study.enqueue_trial(self._parameters(random.Random(self.request.seed + len(left)).choice(left)))
        return bool(left)

    def _enqueue_beside_the_best(self, measured: set[Configuration]) -> None:
        """Queues a neighbour of the best for every other trial, once the prior is measured. The sampler alone seldom
        tries such configurations."""
        best = self.best()
        beside = [each for each in self.space.all()
                  if best and each not in measured and self._beside(each, best.configuration)]  # fmt: skip
        if beside:
            self.study.enqueue_trial(self._parameters(random.Random(self.request.seed + len(measured)).choice(beside)))

    def _beside(self, a: Configuration, b: Configuration) -> bool:
        """Whether exactly one setting differs, by one level."""
        levels = [self._parameters(each) for each in (a, b)]
        steps = [abs(levels[0][name] - levels[1][name]) for name in SETTINGS]
        return a.variant == b.variant and sum(steps) == 1

    def _measure(self, trial: optuna.Trial, configuration: Configuration) -> None:
        began, points = time.monotonic(), []
        self.say(str(configuration))

        def watch(point: Point) -> None:
            points.append(point)
            trial.set_user_attr("seconds", round(time.monotonic() - began, 2))  # in case the process is killed now
            if point.mode == "closed":
                trial.report(point.requests_per_s, int(point.load))
                if trial.should_prune():
                    raise optuna.TrialPruned

        state, reason = "complete", ""
        try:
            outcome = self.evaluate(configuration, watch)
        except optuna.TrialPruned:
            outcome, state = Outcome(tuple(points)), "pruned"
            reason = f"less than half of the best at {points[-1].load:g} users"
        except ServerRunsError:  # left in the state of a killed process, so that it is measured again
            raise
        except (ServingError, LoadTestError) as error:
            outcome, state, reason = Outcome(tuple(points)), "failed", str(error)
        self._tell(trial, outcome, state, reason, time.monotonic() - began)
        self._require_success(FAILURES)

    def _tell(self, trial: optuna.Trial, outcome: Outcome, state: str, reason: str, seconds: float) -> None:
        trial.set_user_attr("seconds", round(seconds, 2))
        trial.set_user_attr("result", {"state": state, "reason": reason, "outcome": asdict(outcome)})
        self._close(trial.number, state, outcome)

    def _close(self, number: int, state: str, outcome: Outcome) -> None:
        if state == "complete":
            self.study.tell(number, worth(self.request, outcome).value)
        else:
            self.study.tell(number, state=TrialState.PRUNED if state == "pruned" else TrialState.FAIL)

    def _require_success(self, count: int) -> None:
        records = self.records()
        if records and len(records) == count and all(each.state == "failed" for each in records):
            again = f"; to measure them again, remove {self.folder}" if self.folder else ""
            raise ServingError(
                f"All {count} configurations that were tried failed, the last one with: {records[-1].reason}{again}"
            )

    def _fail_stale(self) -> None:
        """Marks trials that a killed process left, and queues them again."""
        for each in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if result := each.user_attrs.get("result"):  # killed between its measurement and the next question
                self._close(each.number, result["state"], outcome_of(result["outcome"]))
                continue
            self.study.tell(each.number, state=TrialState.FAIL)
            if set(each.params) == {"variant", *SETTINGS}:
                self.study.enqueue_trial(each.params)

    # Configurations as optuna's parameters: a setting is the index of its level, so that neighbours are near

    def _distributions(self) -> dict[str, BaseDistribution]:
        found: dict[str, BaseDistribution] = {"variant": CategoricalDistribution(self.space.levels("variant"))}
        for name in SETTINGS:
            found[name] = IntDistribution(0, len(self.space.levels(name)) - 1)
        return found

    def _parameters(self, each: Configuration) -> dict[str, Any]:
        levels = {name: self.space.levels(name).index(value) for name, value in each.settings.items()}
        return {"variant": each.variant, **levels}

    def _configuration(self, params: dict[str, Any]) -> Configuration:
        settings = {name: self.space.levels(name)[params[name]] for name in SETTINGS}
        return self.space.configuration(params["variant"], **settings)

    def importance(self) -> dict[str, float]:
        """The share of the value's variance that each parameter explains (fANOVA); empty where trials are too few."""
        names = ["variant", *(name for name in SETTINGS if len(self.space.levels(name)) > 1)]
        if len(self.space.levels("variant")) == 1:
            names.remove("variant")
        met = [each.worth.value for each in self.records() if each.worth.meets]
        if not names or len(set(met)) < 4:
            return {}
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self.request.seed)
        worst = min(met)  # a miss counts as the worst hit, or its penalty would dominate

        def value(trial: FrozenTrial) -> float:
            return max(worst, trial.value or worst)

        try:
            found = optuna.importance.get_param_importances(
                self.study, evaluator=evaluator, params=names, target=value
            )
        except (RuntimeError, ValueError):  # no variance to explain
            return {}
        return {name: round(share, 4) for name, share in found.items()}


def outcome_of(stated: dict[str, Any]) -> Outcome:
    """The outcome that ``asdict`` made these values from."""
    return Outcome(**{**stated, "points": tuple(Point(**each) for each in stated["points"])})


def prior(space: Space, request: Request, speeds: dict[str, float]) -> Iterator[Configuration]:
    """The first configurations to measure: each variant once, with settings that suit the objective on most machines.

    ``speeds`` of make bench by variant (items per second; {} without a bench) order them, and leave out those that are
    less than half as fast as the best.
    """
    fastest = max(speeds.values(), default=0.0)
    ordered = sorted(space.searched, key=lambda name: -speeds.get(name, fastest))
    alone = request.objective == "memory" or (request.objective == "latency" and request.rate is None)
    workers = 1 if alone else min(space.cores, 8)
    wanted = {"workers": workers, "threads": max(1, space.cores // workers), "batch_size": 1 if alone else 8,
              "queue": space.default.queue}  # fmt: skip
    nearest = {name: _nearest(space.axes[name], wanted[name]) for name in SETTINGS}
    for name in ordered:
        if speeds.get(name, fastest) >= HOPELESS * fastest:
            yield space.configuration(name, **nearest)


def _nearest(levels: Sequence[int], wanted: int) -> int:
    return min(levels, key=lambda level: abs(level - wanted))
