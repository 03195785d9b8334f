"""Reads the variables of rollout, rollback and scale, and the bounds beyond which a rollout goes back."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from serving.errors import ServingError
from serving.model_settings import KEYS, Settings
from serving.versions import checked_version

NUMBER = re.compile(r"\d+(\.\d+)?")
LONGEST_SHADOW_S = 3600  # as the front end has it (Mirror.java)
SCALED = {
    "WORKERS": "workers",
    "THREADS": "threads",
    "BATCH_SIZE": "batch_size",
    "BATCH_DELAY_MS": "batch_delay_ms",
}


@dataclass(frozen=True)
class Bounds:
    """The bounds of a new version. Beyond them the old one stays."""

    p99_ratio: float = 1.5  # largest p99 latency, as a multiple of the old version's
    different: float = 0.0  # most percent of the requests that it answers differently
    errors: int = 0  # most requests of clients that it fails on, once it is the default
    requests: int = 400  # to each version, for the latency
    watch_s: float = 10.0  # seconds as the default before the old version ends
    canary: float = 0.0  # percent of the requests that it answers before, for watch_s; 0: none
    p99_ms: float = math.inf  # largest p99 of clients' requests
    shadow_s: float = 0.0  # seconds of copied requests, before it answers any; 0: none
    shadow_percent: float = 100.0  # of the requests that are copied

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Bounds:
        """The bounds in these variables. Raises ServingError."""
        return cls(
            _number(environment, "MAX_P99_RATIO", cls.p99_ratio),
            _number(environment, "MAX_DIFFERENT", cls.different),
            round(_number(environment, "MAX_ERRORS", cls.errors)),
            max(20, round(_number(environment, "REQUESTS", cls.requests))),
            _seconds(environment, "WATCH", cls.watch_s),
            _percent(environment, "CANARY"),
            _number(environment, "MAX_P99_MS", cls.p99_ms),
            _at_most(LONGEST_SHADOW_S, _seconds(environment, "SHADOW", cls.shadow_s)),
            _copied(environment, "SHADOW_PERCENT"),
        )


def _number(environment: Mapping[str, str], name: str, default: float) -> float:
    given = environment.get(name, "").strip()
    if not given:
        return default
    if not NUMBER.fullmatch(given) or not math.isfinite(float(given)):
        raise ServingError(f"{name}={given} is no number; write one, as in {name}={default:g}")
    return float(given)


def _seconds(environment: Mapping[str, str], name: str, default: float) -> float:
    """A time, with or without its unit: 60 or 60s."""
    return _number({name: environment.get(name, "").strip().removesuffix("s")}, name, default)


def _at_most(longest: float, found: float) -> float:
    if found > longest:
        raise ServingError(f"SHADOW={found:g}s is too long; write at most SHADOW={longest:g}s")
    return found


def _copied(environment: Mapping[str, str], name: str) -> float:
    found = _number(environment, name, Bounds.shadow_percent)
    if not 0 < found <= 100:
        raise ServingError(f"{name}={found:g} is no share of the requests; write percent up to 100, as in {name}=10")
    return found


def _percent(environment: Mapping[str, str], name: str) -> float:
    found = _number(environment, name, 0.0)
    if found >= 100:
        raise ServingError(f"{name}={found:g} is no share of the requests; write percent below 100, as in {name}=10")
    return found


def archive(environment: Mapping[str, str], verb: str) -> str:
    """The archive that MODEL names. Raises ServingError without it."""
    if name := environment.get("MODEL", "").strip():
        return name
    raise ServingError(f"Which archive? Write it as in: make {verb} MODEL=minilm-torchscript")


def version(environment: Mapping[str, str]) -> str:
    """VERSION. Raises ServingError without it."""
    if given := environment.get("VERSION", "").strip():
        return checked_version(given)
    raise ServingError("Which version? Write it as in: make rollout MODEL=minilm-torchscript VERSION=2.0")


def settings(environment: Mapping[str, str]) -> Settings:
    """The settings for make scale, by the keys of models.toml. Raises ServingError."""
    found: Settings = {}
    for variable, key in SCALED.items():
        given = environment.get(variable, "").strip()
        if given:
            value = float(given) if NUMBER.fullmatch(given) else None
            value = int(value) if value is not None and value == int(value) else value
            if problem := KEYS[key].problem(value):
                raise ServingError(f"{variable}={given}: {problem}; correct it.")
            found[key] = value  # type: ignore[assignment]  # KEYS has refused None
    if not found:
        raise ServingError("What is to change? Write it as in: make scale MODEL=minilm-torchscript WORKERS=2")
    return found
