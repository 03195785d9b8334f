"""The request, from make's variables, checked before the measurement. Knows names and ranges, no server."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from compare.errors import CompareError
from compare.peers_table import BY_NAME
from export.catalog import model
from loadtest.measure import result_file
from serving.choice import names

RESULTS = Path(__file__).with_name("results")
VARIABLES = ("MODELS", "PEERS", "CLIENTS", "DURATION", "ROUNDS", "DEVICE", "WEIGHTS")
TASK = "embedding"
BESIDE = (".md", ".html")


@dataclass(frozen=True)
class Request:
    """``clients`` are the loads. Each is measured in ``rounds`` turns, with three windows of ``window_s`` seconds
    each."""

    model: str = "minilm"
    peers: tuple[str, ...] = tuple(BY_NAME)
    clients: tuple[int, ...] = (1, 8, 64)
    window_s: float = 0.75
    rounds: int = 2
    out: Path = RESULTS / "compare.json"


def read(environment: Mapping[str, str]) -> Request:
    """The request in make's variables. Raises CompareError, CatalogError or LoadTestError."""
    result_file.chosen(environment, RESULTS / "any.json", BESIDE)  # first: OUT may name another's file
    name = _model(environment)
    return Request(
        name, _peers(environment), _clients(environment), _window_s(environment.get("DURATION", "").strip() or "0.75"),
        _whole("ROUNDS", environment.get("ROUNDS", "").strip() or "2", 20),
        result_file.chosen(environment, RESULTS / f"{name}.json", BESIDE),
    )  # fmt: skip


def _model(environment: Mapping[str, str]) -> str:
    found = names(environment, "MODELS") or ["minilm"]
    if len(found) > 1:
        raise CompareError(f"MODELS={' '.join(found)} names several models; compare one at a time: MODELS={found[0]}")
    if handler := model(found[0]).handler:
        raise CompareError(
            f"MODELS={found[0]} answers through {handler}, which the peers do not run; compare its checkpoint under "
            "another name: make archive MODEL=/path NAME=plain, then MODELS=plain"
        )
    if model(found[0]).task != TASK:
        raise CompareError(
            f"MODELS={found[0]} is of the task {model(found[0]).task}; the peers are written for {TASK}: MODELS=minilm"
        )
    return found[0]


def _peers(environment: Mapping[str, str]) -> tuple[str, ...]:
    found = names(environment, "PEERS") or list(BY_NAME)
    if unknown := [name for name in found if name not in BY_NAME]:
        raise CompareError(f'PEERS={" ".join(unknown)} is not known; there are PEERS="{" ".join(BY_NAME)}"')
    return tuple(dict.fromkeys(found))


def _clients(environment: Mapping[str, str]) -> tuple[int, ...]:
    found = names(environment, "CLIENTS") or ["1", "8", "64"]
    return tuple(sorted({_whole("CLIENTS", each, 1024) for each in found}))


def _whole(name: str, text: str, most: int) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise CompareError(f"{name}={text} is not understood: whole numbers from 1 to {most} are expected.")
    return int(text)


def _window_s(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 600:
        raise CompareError(f"DURATION={text} is not understood: seconds of a window are expected, as in DURATION=0.75")
    return seconds


def command(environment: Mapping[str, str]) -> str:
    """The make command of this request."""
    given = {key: environment[key].strip() for key in VARIABLES if environment.get(key, "").strip()}
    return " ".join(["make compare", *(f"{key}={shlex.quote(value)}" for key, value in given.items())])
