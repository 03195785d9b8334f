"""The verb serve: starts the server with the archives of the store and prints a request for each. With FOREGROUND=1 or
UI=1 it keeps running."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from serving.choice import names
from serving.chosen import Choices
from serving.client import Client
from serving.config import Config
from serving.errors import ServingError
from serving.model_settings import KEYS
from serving.plan import Plan
from serving.replicas import verbs as replicas
from serving.replicas.asked import Asked
from serving.replicas.group import Group
from serving.replicas.start import stop_all
from serving.request_log import Printer, RequestLog
from serving.server import start, wait_until_ready
from serving.signals import end_on_signal, ignore_signals, raise_lost_signal
from serving.start_lock import starting
from serving.state import TITLES, RunDirectory, State
from serving.status import NOT_OURS
from serving.store import STORE, archives
from serving.ui.__main__ import main as show_page
from serving.warm_up import Example, warm_up


def serve() -> int:
    """Starts the server with the store's archives; returns when all are warm, or stays: with FOREGROUND=1 until the
    server ends, with UI=1 to serve the page until Ctrl-C."""
    page = _wants_page()
    return _serve() or (show_page() if page else 0)


def _wants_page() -> bool:
    given = os.environ.get("UI", "").strip()
    if given not in ("", "0", "1"):
        raise ServingError(f"UI={given} is neither 0 nor 1; write it as in: make serve UI=1")
    if given == "1" and os.environ.get("FOREGROUND") == "1":
        raise ServingError("UI=1 and FOREGROUND=1 both stay; give one of them, and run make ui in another terminal")
    return given == "1"


def _serve() -> int:
    run, config = RunDirectory.default(), Config.load()
    foreground = os.environ.get("FOREGROUND") == "1"
    end_on_signal()
    run.create()
    with starting(run.lock, lambda text: print(text, flush=True)):
        asked = replicas.asked_for(dict(os.environ))
        if asked and _engine() == "ray":
            raise ServingError("ENGINE=ray has no REPLICAS, TLS and BIND (see docs/ray.md); leave one of them out")
        plan = chosen_plan(asked.replicas if asked else 1)
        state = run.read()
        if state and state.ready and state.running():
            return _already_running(run, state, plan, asked)
        stop_all(run)  # a crash or a killed start may have left processes, sockets and a stale record
        try:
            state = replicas.begin(run, asked, plan) if asked else _start(run, config, plan)
            raise_lost_signal()
        except BaseException as error:
            ignore_signals()
            stop_all(run)
            if foreground and isinstance(error, KeyboardInterrupt):
                return _stopped(TITLES[_engine()])
            if isinstance(error, KeyboardInterrupt):
                print(f"Interrupted; {TITLES[_engine()]} is stopped.", file=sys.stderr)
                return 130
            raise
    return _stay(run, state, _printer(run, config)) if foreground else 0


def chosen_plan(servers: int = 1) -> Plan:
    """The archives of the store that MODELS, VARIANTS and models.toml choose, with their settings, for ``servers``
    servers on this machine. WORKERS overrides the settings. Raises ServingError."""
    models, variants, choices = names(os.environ, "MODELS"), names(os.environ, "VARIANTS"), Choices.of(os.environ)
    chosen = archives(STORE, models, variants, choices)
    return Plan.of(STORE, chosen, choices=choices, workers=_workers(), servers=servers)


def _workers() -> int | None:
    given = os.environ.get("WORKERS", "").strip()
    if not given:
        return None
    if not given.isdecimal() or KEYS["workers"].problem(int(given)):
        most = KEYS["workers"].most
        raise ServingError(f"WORKERS={given} is no number from 1 to {most}; write it as in: make serve WORKERS=2")
    return int(given)


def _start(run: RunDirectory, config: Config, plan: Plan) -> State:
    """Starts the server; returns once all archives are warm and a request for each has been printed."""
    began, engine = time.monotonic(), _engine()
    print(f"Starting {TITLES[engine]} with {', '.join(plan.archives)}", flush=True)
    for notice in plan.notices:
        print(f"  {notice}", flush=True)
    client = Client(config, run.key_file)
    state, examples = (_with_ray if engine == "ray" else _with_torchserve)(
        config, run, plan, client, lambda text: _progress(began, text)
    )
    print(f"Ready after {time.monotonic() - began:.1f} s. Send it a request, from this folder:\n")
    _show_curl(examples, config, client)
    for name in plan.foreign:
        print(f"  # {name} ({NOT_OURS}): {config.inference}/predictions/{name}; its handler reads the request\n")
    sys.stdout.flush()
    return state


def _engine() -> str:
    given = os.environ.get("ENGINE") or "torchserve"
    if given not in TITLES:
        raise ServingError(f"ENGINE={given} is not known; write one of: {', '.join(TITLES)}")
    return given


def _with_torchserve(
    config: Config, run: RunDirectory, plan: Plan, client: Client, report: Callable[[str], None]
) -> tuple[State, dict[str, Example]]:
    state = start(config, run, plan)
    wait_until_ready(state, run, client, report)
    return state, warm_up(client, plan.ours)


def _with_ray(
    config: Config, run: RunDirectory, plan: Plan, client: Client, report: Callable[[str], None]
) -> tuple[State, dict[str, Example]]:
    from deploy.ray import start as ray  # its packages are an extra

    state = ray.start(config, run, plan)
    ray.wait_until_ready(state, run, client, report)
    return state, {name: ray.example_of(client, plan, name) for name in plan.archives}


def _progress(began: float, text: str) -> None:
    print(f"  {time.monotonic() - began:5.1f} s  {text}", flush=True)


def _already_running(run: RunDirectory, state: State, plan: Plan, asked: Asked | None) -> int:
    if state.engine != _engine():
        print(f"{state.title} already runs (pid {state.pid}), not {TITLES[_engine()]}; run: make stop serve",
              file=sys.stderr)  # fmt: skip
        return 1
    differently = replicas.differs(run, asked)
    if not differently and state.archives == plan.archives and state.settings == plan.settings:
        print(f"{state.title} already runs (pid {state.pid}) with these archives and settings; see: make status")
        return 0
    other = f"archives ({', '.join(state.archives)})"
    if state.archives == plan.archives:
        names = [name for name in plan.archives if state.settings.get(name) != plan.settings.get(name)]
        other = f"settings of {', '.join(names)} than are wanted now"
    with_what = differently or f"other {other}"
    print(f"{state.title} already runs (pid {state.pid}) with {with_what}; run: make stop serve", file=sys.stderr)
    return 1


def _show_curl(examples: dict[str, Example], config: Config, client: Client) -> None:
    for name, example in examples.items():
        print(f"  # {name}")
        print(f"  {example.curl(f'{config.inference}/predictions/{name}', client.token())}")
        print(f"  {example.shown_answer()}\n" if example.answer else "")


def _printer(run: RunDirectory, config: Config) -> Printer | None:
    """Prints the request log, if it is for standard output; else None."""
    log = RequestLog.of(config.properties, config.path.resolve().parent, run.logs)
    return Printer(log.path) if log and log.printed else None


def _stay(run: RunDirectory, state: State, printer: Printer | None) -> int:
    """Returns when a signal ends the server; raises ServingError when it ends by itself."""
    try:
        while _lives(run, state):
            raise_lost_signal()
            if printer:
                printer.show()
            time.sleep(0.5)
        raise ServingError(f"{state.title} ended by itself; see: make logs")
    except BaseException as error:
        ignore_signals()
        if _is_on_record(run, state):
            with starting(run.lock, lambda text: None):
                if _is_on_record(run, state):
                    stop_all(run)
        if printer:
            printer.show()
        if isinstance(error, KeyboardInterrupt):
            return _stopped(state.title)
        raise


def _lives(run: RunDirectory, state: State) -> bool:
    """Whether the server still runs. Replicas count while they are on record, since their keeper starts them again."""
    return _is_on_record(run, state) if Group.read(run) else state.running()


def _is_on_record(run: RunDirectory, state: State) -> bool:
    """Whether this server is the one on record. False after ``make stop serve`` has replaced it."""
    now = run.read()
    return now is not None and now.temp == state.temp


def _stopped(title: str) -> int:
    print(f"{title} has stopped.", flush=True)
    return 0
