"""The profile of a run: a file of loadtest/profiles/*.toml, changed by the variables that make passes on.

Knows names, ranges and how variables combine, and nothing of the measurement.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from loadtest.errors import LoadTestError
from loadtest.load.arrivals import KINDS
from loadtest.stats import STABLE_WINDOWS, smallest_sample

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).resolve().parents[1] / "profiles"
SHAPES = ("step", "spike")
PROTOCOLS = ("http", "grpc")
T = TypeVar("T")


@dataclass(frozen=True)
class Profile:
    """The settings of a run. The comments in profiles/default.toml explain each one."""

    name: str
    concurrency: tuple[int, ...] = ()
    rates: tuple[float, ...] = ()
    arrivals: tuple[str, ...] = ("poisson",)
    rounds: int = 2
    window_s: float = 1.0
    max_warm_up: int = 8
    max_windows: int = 8
    seed: int = 1
    slo_p99_ms: float = 0.0
    search_peak: bool = False
    max_error_rate: float = 0.0
    margin: float = 0.1
    shapes: tuple[str, ...] = ()
    shape_s: float = 30.0
    shape_factor: float = 4.0
    soak_s: float = 0.0
    trace: str = ""  # a file of recorded arrivals, replayed at ``rates`` per second or as recorded
    trace_s: float = 0.0  # how much of it; 0: all
    protocol: str = "http"  # that requests are sent by
    processes: int = 0  # of the load generator; 0: as many as the load needs and the machine has cores for

    @property
    def busiest(self) -> tuple[float, ...]:
        """The highest requests per second of each of its rates."""
        return tuple(rate * self.shape_factor if self.shapes else rate for rate in self.rates)

    def open_window_s(self, rate: float) -> float:
        """Seconds of an open loop's window. It has at least 50 requests (perf_analyzer's default), or its median is
        noise."""
        least = smallest_sample(99) / STABLE_WINDOWS if self.slo_p99_ms else 50  # an objective needs a p99 to claim
        return max(self.window_s, least / rate)


def load(environment: Mapping[str, str]) -> Profile:
    """The profile $PROFILE (default: default), with the other variables applied. Raises LoadTestError."""
    name = environment.get("PROFILE") or "default"
    path = FOLDER / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(each.stem for each in FOLDER.glob("*.toml")))
        raise LoadTestError(f"There is no profile {name!r}; PROFILE may be {known}.")
    return check(_overridden(_parse(name, tomllib.loads(path.read_text(encoding="utf-8"))), environment))


def _parse(name: str, settings: dict[str, Any]) -> Profile:
    known = {field.name for field in fields(Profile)}
    if unknown := sorted(set(settings) - known):
        raise LoadTestError(f"profiles/{name}.toml: unknown {', '.join(unknown)}; known: {', '.join(sorted(known))}.")
    lists: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    return Profile(**{**lists, "name": name})


def _overridden(profile: Profile, environment: Mapping[str, str]) -> Profile:
    given = {key: environment[key] for key in READERS if environment.get(key)}
    changes = {READERS[key][0]: _read(key, text) for key, text in given.items()}
    if "RATE" in given and "CONCURRENCY" not in given:
        changes["concurrency"] = ()  # the user asked for one kind of loop only
    if "CONCURRENCY" in given and "RATE" not in given:
        changes["rates"] = ()
    if "SLO_P99_MS" in given and "RATE" not in given:
        # An objective without a rate asks for the peak rate. Other loads are measured only if they are asked for too.
        changes = {"concurrency": (), **changes, "rates": (), "search_peak": True}
    if "TRACE" in given:
        closed = changes["concurrency"] if "CONCURRENCY" in given else ()
        changes |= {"concurrency": closed, "rates": changes.get("rates", ()), "search_peak": False}
        changes["trace_s"] = changes.pop("duration", 0.0)
    if (seconds := changes.pop("duration", None)) is not None:
        changes |= {"window_s": seconds / 3, "shape_s": seconds, "soak_s": seconds if profile.soak_s else 0.0}
    return replace(profile, **changes)


def asked_processes(environment: Mapping[str, str]) -> int:
    """$PROCESSES, by default 0. Raises LoadTestError."""
    if not (text := environment.get("PROCESSES")):
        return 0
    count: int = _read("PROCESSES", text)
    if count < 1:
        raise LoadTestError(f"PROCESSES={text} is not a number of processes; write it as in PROCESSES=2.")
    return count


def asked_protocol(environment: Mapping[str, str]) -> str:
    """$PROTOCOL, by default "http". Raises LoadTestError."""
    if (asked := environment.get("PROTOCOL") or PROTOCOLS[0]) not in PROTOCOLS:
        raise LoadTestError(f"PROTOCOL={asked} is not known; it may be {' or '.join(PROTOCOLS)}.")
    return asked


def _read(key: str, text: str) -> Any:
    try:
        return READERS[key][1](text)
    except ValueError:
        raise LoadTestError(f"{key}={text} is not understood; write it as in {READERS[key][2]}.") from None


def numbers(kind: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    """A reader of several values, separated by commas or spaces."""
    return lambda text: tuple(kind(part) for part in text.replace(",", " ").split())


READERS: dict[str, tuple[str, Callable[[str], Any], str]] = {
    "CONCURRENCY": ("concurrency", numbers(int), "CONCURRENCY=1,4,16"),
    "RATE": ("rates", numbers(float), "RATE=50 or RATE=10,50"),
    "ARRIVALS": ("arrivals", numbers(str), "ARRIVALS=poisson,constant"),
    "SLO_P99_MS": ("slo_p99_ms", float, "SLO_P99_MS=100"),
    "DURATION": ("duration", float, "DURATION=10 (seconds measured at each load point)"),
    "ROUNDS": ("rounds", int, "ROUNDS=2"),
    "SEED": ("seed", int, "SEED=1"),
    "TRACE": ("trace", str, "TRACE=requests.csv"),
    "PROTOCOL": ("protocol", str, "PROTOCOL=grpc"),
    "PROCESSES": ("processes", int, "PROCESSES=2"),
}


def check(profile: Profile) -> Profile:
    """The profile, if every setting is valid. Raises LoadTestError."""
    problems = {
        "concurrency must be whole numbers from 1": any(n < 1 for n in profile.concurrency),
        "rates must be greater than 0": not all(0 < rate < math.inf for rate in profile.rates),
        f"arrivals may be {', '.join(KINDS)}": not set(profile.arrivals) <= set(KINDS),
        f"protocol (or PROTOCOL) may be {' or '.join(PROTOCOLS)}": profile.protocol not in PROTOCOLS,
        f"shapes may be {', '.join(SHAPES)}": not set(profile.shapes) <= set(SHAPES),
        "rounds must be from 1": profile.rounds < 1,
        "window_s (or DURATION) must be greater than 0": not 0 < profile.window_s < math.inf,
        "slo_p99_ms must be 0 (none) or more": not 0 <= profile.slo_p99_ms < math.inf,
        "seed must be from 0": profile.seed < 0,
        "processes (or PROCESSES) must be from 1, or 0 for as many as are needed": profile.processes < 0,
        "max_windows must be from 3 and max_warm_up from 2": profile.max_windows < 3 or profile.max_warm_up < 2,
        "search_peak needs slo_p99_ms (SLO_P99_MS=100)": profile.search_peak and profile.slo_p99_ms <= 0,
        "shapes and soak_s need a rate (RATE=50)": not profile.rates and bool(profile.shapes or profile.soak_s),
        "trace_s (or DURATION) must be greater than 0": not 0 <= profile.trace_s < math.inf,
        "nothing is to be measured: set concurrency or rates": not (
            profile.concurrency or profile.rates or profile.search_peak or profile.trace
        ),
    }
    if found := [text for text, wrong in problems.items() if wrong]:
        raise LoadTestError(f"The load profile {profile.name!r} cannot be run: {'; '.join(found)}.")
    return profile
