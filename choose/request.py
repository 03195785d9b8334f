"""The question, from make's variables, checked before anything runs.

Knows names, ranges and which variables exclude each other. It does not know what a model can do (space.py does).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from choose.errors import ChooseError
from export.catalog import models
from export.own_models import VARIABLES as DESCRIBING
from export.own_models import existing, wanted_row
from serving.choice import names, words

OBJECTIVES = ("throughput", "latency", "memory")
DEFAULT_BUDGET = "20m"
UNITS = {"s": 1, "m": 60, "h": 3600}
# The variables that the command in a decision repeats, in this order.
VARIABLES = (
    "MODEL", "MODELS", "OBJECTIVE", "SLO_P99_MS", "RATE", "MIN_ACCURACY", "MIN_COSINE", "BUDGET", "HOURLY_COST",
    "VARIANTS", "WORKERS", "THREADS", "BATCHES", "TRIALS", "ROUNDS", "DURATION",
    "SEED", "DEVICE", "WEIGHTS",
)  # fmt: skip


@dataclass(frozen=True)
class Request:
    """The question, for each of ``models``. If ``workers``, ``threads`` and ``batches`` are empty, the machine decides
    their values. ``checkpoint``: MODEL= names a checkpoint, which becomes the one model of ``models``.

    ``slo_p99_ms`` and ``rate`` (requests per second) are None where they were not given; ``min_accuracy`` is a share;
    ``budget_s`` is the time of a model's search and finals together. A finalist is measured ``rounds`` times, in
    windows of ``window_s`` seconds.
    """

    models: tuple[str, ...]
    checkpoint: bool = False
    objective: str = "throughput"
    slo_p99_ms: float | None = None
    rate: float | None = None
    min_accuracy: float | None = None
    min_cosine: float | None = None
    budget_s: float = 1200.0
    hourly_cost: float | None = None
    variants: tuple[str, ...] = ()
    workers: tuple[int, ...] = ()
    threads: tuple[int, ...] = ()
    batches: tuple[int, ...] = ()
    trials: int | None = None
    rounds: int = 2
    window_s: float = 1.0
    seed: int = 1

    def stated(self) -> dict[str, Any]:
        """The section ``objective`` of decision.json."""
        return {
            "name": self.objective, "slo_p99_ms": self.slo_p99_ms, "rate": self.rate,
            "min_accuracy": self.min_accuracy, "min_cosine": self.min_cosine, "budget_s": self.budget_s,
            "hourly_cost": self.hourly_cost,
        }  # fmt: skip


def read(environment: Mapping[str, str]) -> Request:
    """The request in make's variables. Raises ChooseError, and CatalogError for a checkpoint's name."""
    given = {key: read_(environment[key].strip()) for key, read_ in READERS.items() if environment.get(key, "").strip()}
    chosen, checkpoint = _models(environment)
    request = Request(chosen, checkpoint, variants=tuple(names(environment, "VARIANTS")),
                      **{FIELDS[key]: value for key, value in given.items()})  # fmt: skip
    if request.objective == "throughput" and request.rate is not None:
        raise ChooseError(
            f"RATE={request.rate:g} fixes the throughput, so there is none to search for; with RATE use "
            "OBJECTIVE=latency or OBJECTIVE=memory, or leave RATE out."
        )
    return request


def _models(environment: Mapping[str, str]) -> tuple[tuple[str, ...], bool]:
    """(the models' names, whether MODEL= names a checkpoint that becomes a model of that name)."""
    one, several = environment.get("MODEL", "").strip(), names(environment, "MODELS")
    if one and several:
        raise ChooseError("MODEL= and MODELS= both name models; leave one of them out.")
    if is_checkpoint(one):
        wanted = wanted_row(environment)
        assert wanted is not None  # MODEL= is given
        return (wanted[0],), True
    found = tuple(several or words(one))
    if not found:
        raise ChooseError(
            "Which model? Name it, or a checkpoint: make choose MODEL=minilm, or MODEL=/path; make models lists the "
            "names."
        )
    if paths := [name for name in found if "/" in name]:
        raise ChooseError(f"MODELS= takes names, and {paths[0]} is a checkpoint; write MODEL={paths[0]} alone.")
    _refuse_description(environment, found)
    return tuple(dict.fromkeys(found)), False


def is_checkpoint(text: str) -> bool:
    """Whether MODEL= has a path or a hub id. A name that make models lists is never one."""
    if not text or any(text == model.name for model in models()):
        return False
    return "/" in text or existing(text) is not None


def _refuse_description(environment: Mapping[str, str], found: tuple[str, ...]) -> None:
    """Raises ChooseError for variables that describe a checkpoint where none is named."""
    given = [name for name in ("NAME", *DESCRIBING.values()) if environment.get(name, "").strip()]
    if given:
        raise ChooseError(
            f"{given[0]}= describes a checkpoint, and {found[0]} is the name of a model; leave it out, or name the "
            "checkpoint: MODEL=/path."
        )


def command(environment: Mapping[str, str], model: str = "") -> str:
    """The make command of this question, for one ``model`` where it is given."""
    given = {key: environment[key].strip() for key in VARIABLES if environment.get(key, "").strip()}
    if model:
        given.pop("MODELS", None)
        given = {"MODEL": model, **{key: value for key, value in given.items() if key != "MODEL"}}
    return " ".join(["make choose", *(f"{key}={shlex.quote(value)}" for key, value in given.items())])


def _refuse(name: str, text: str, expected: str) -> ChooseError:
    return ChooseError(f"{name}={text} is not understood: {expected}.")


def _objective(text: str) -> str:
    if text not in OBJECTIVES:
        raise _refuse("OBJECTIVE", text, f"it may be {', '.join(OBJECTIVES)}; write OBJECTIVE=throughput")
    return text


def _budget(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if not match or float(match[1]) <= 0:
        raise _refuse("BUDGET", text, "a time with its unit is expected, as in BUDGET=20m, BUDGET=90s or BUDGET=1h")
    return float(match[1]) * UNITS[match[2]]


def _number(name: str, example: str, most: float = float("inf"), least: float = 0.0) -> Callable[[str], float]:
    def read_number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least < value <= most or value == float("inf"):
            bound = f" and at most {most:g}" if most < float("inf") else ""
            raise _refuse(name, text, f"a number above {least:g}{bound} is expected, as in {name}={example}")
        return value

    return read_number


def _accuracy(text: str) -> float:
    """The accuracy as a share. A number above 1 is per cent."""
    value = _number("MIN_ACCURACY", "98.5 (per cent)", 100)(text)
    return value / 100 if value > 1 else value


def _whole(name: str, example: str) -> Callable[[str], int]:
    def read_whole(text: str) -> int:
        if not text.isdecimal() or int(text) < 1:
            raise _refuse(name, text, f"a whole number from 1 is expected, as in {name}={example}")
        return int(text)

    return read_whole


def _several(name: str, example: str, most: int) -> Callable[[str], tuple[int, ...]]:
    def read_several(text: str) -> tuple[int, ...]:
        parts = words(text)
        if not parts or not all(part.isdecimal() and 1 <= int(part) <= most for part in parts):
            raise _refuse(name, text, f"whole numbers from 1 to {most} are expected, as in {name}={example}")
        return tuple(sorted({int(part) for part in parts}))

    return read_several


READERS: dict[str, Callable[[str], Any]] = {
    "OBJECTIVE": _objective,
    "SLO_P99_MS": _number("SLO_P99_MS", "50"),
    "RATE": _number("RATE", "200"),
    "MIN_ACCURACY": _accuracy,
    "MIN_COSINE": _number("MIN_COSINE", "0.999", 1),
    "BUDGET": _budget,
    "HOURLY_COST": _number("HOURLY_COST", "0.40"),
    "WORKERS": _several("WORKERS", "1,2", 256),
    "THREADS": _several("THREADS", "1,2", 1024),
    "BATCHES": _several("BATCHES", "1,8,32", 1024),
    "TRIALS": _whole("TRIALS", "20"),
    "ROUNDS": _whole("ROUNDS", "2"),
    "DURATION": lambda text: _number("DURATION", "3 (seconds that a finalist is measured each time)")(text) / 3,
    "SEED": _whole("SEED", "1"),
}
FIELDS = {
    "OBJECTIVE": "objective", "SLO_P99_MS": "slo_p99_ms", "RATE": "rate", "MIN_ACCURACY": "min_accuracy",
    "MIN_COSINE": "min_cosine", "BUDGET": "budget_s", "HOURLY_COST": "hourly_cost", "WORKERS": "workers",
    "THREADS": "threads", "BATCHES": "batches", "TRIALS": "trials", "ROUNDS": "rounds",
    "DURATION": "window_s", "SEED": "seed",
}  # fmt: skip
