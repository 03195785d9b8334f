"""The verbs serve, stop, restart, status, logs, token and clean. Settings come from the environment, as make passes
them."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from contextlib import nullcontext

from serving.choice import names
from serving.chosen import Choices
from serving.client import Client
from serving.config import Config
from serving.errors import ServingError
from serving.identity import built_here
from serving.logs import show as show_logs
from serving.model_settings import KEYS
from serving.plan import Plan
from serving.replicas import verbs as replicas
from serving.replicas.asked import Asked
from serving.replicas.group import Group, served_config
from serving.replicas.show import status as show_replicas
from serving.replicas.start import stop_all
from serving.request_log import Printer, RequestLog
from serving.server import start, wait_until_ready
from serving.start_lock import RESTART, starting, stopping
from serving.state import RunDirectory, State
from serving.status import NOT_OURS, show
from serving.store import STORE, archives, digest_file
from serving.ui.__main__ import main as show_page
from serving.versions import FOLDER, forget, remove_empty
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
    _end_on_signal()
    run.create()
    with starting(run.lock, lambda text: print(text, flush=True)):
        asked = replicas.asked_for(dict(os.environ))
        plan = _plan(asked.replicas if asked else 1)
        state = run.read()
        if state and state.ready and state.running():
            return _already_running(run, state, plan, asked)
        stop_all(run)  # a crash or a killed start may have left processes, sockets and a stale record
        try:
            state = replicas.begin(run, asked, plan) if asked else _start(run, config, plan)
            _raise_lost_signal()
        except BaseException as error:
            _ignore_signals()
            stop_all(run)
            if foreground and isinstance(error, KeyboardInterrupt):
                return _stopped()
            if isinstance(error, KeyboardInterrupt):
                print("Interrupted; TorchServe is stopped.", file=sys.stderr)
                return 130
            raise
    return _stay(run, state, _printer(run, config)) if foreground else 0


def _plan(servers: int) -> Plan:
    """The archives of the store that MODELS, VARIANTS and models.toml choose, with their settings, for so many servers
    of this machine; WORKERS goes over these. Raises ServingError."""
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
    began = time.monotonic()
    print(f"Starting TorchServe with {', '.join(plan.archives)}", flush=True)
    for notice in plan.notices:
        print(f"  {notice}", flush=True)
    client = Client(config, run.key_file)
    state = start(config, run, plan)
    wait_until_ready(state, run, client, lambda text: _progress(began, text))
    examples = {name: warm_up(client, name) for name in plan.ours}
    print(f"Ready after {time.monotonic() - began:.1f} s. Send it a request, from this folder:\n")
    _show_curl(examples, config, client)
    for name in plan.foreign:
        print(f"  # {name} ({NOT_OURS}): {config.inference}/predictions/{name}; its handler reads the request\n")
    sys.stdout.flush()
    return state


def _progress(began: float, text: str) -> None:
    print(f"  {time.monotonic() - began:5.1f} s  {text}", flush=True)


def _already_running(run: RunDirectory, state: State, plan: Plan, asked: Asked | None) -> int:
    differently = replicas.differs(run, asked)
    if not differently and state.archives == plan.archives and state.settings == plan.settings:
        print(f"TorchServe already runs (pid {state.pid}) with these archives and settings; see: make status")
        return 0
    other = f"archives ({', '.join(state.archives)})"
    if state.archives == plan.archives:
        names = [name for name in plan.archives if state.settings.get(name) != plan.settings.get(name)]
        other = f"settings of {', '.join(names)} than are asked for now"
    with_what = differently or f"other {other}"
    print(f"TorchServe already runs (pid {state.pid}) with {with_what}; run: make stop serve", file=sys.stderr)
    return 1


def _show_curl(examples: dict[str, Example], config: Config, client: Client) -> None:
    for name, example in examples.items():
        print(f"  # {name}")
        print(f"  {example.curl(f'{config.inference}/predictions/{name}', client.token())}")
        print(f"  {example.shown_answer()}\n" if example.answer else "")


# Signals that came. Python drops an exception that is raised while an object is finalized, so an interrupt that the
# signal handler raises there is lost.
_signalled: list[int] = []


def _raise_lost_signal() -> None:
    if _signalled:
        raise KeyboardInterrupt


def _end_on_signal() -> None:
    """Makes SIGTERM and Ctrl-C end a start or a foreground server cleanly."""

    def end(number: int, frame: object) -> None:
        _signalled.append(number)
        # This handler must take no lock: it interrupts the main thread, which may hold it.
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)


def _ignore_signals() -> None:
    """A second Ctrl-C must not cut the clean stop short."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _printer(run: RunDirectory, config: Config) -> Printer | None:
    """What prints the request log, where that is for standard output."""
    log = RequestLog.of(config.properties, config.path.resolve().parent, run.logs)
    return Printer(log.path) if log and log.printed else None


def _stay(run: RunDirectory, state: State, printer: Printer | None) -> int:
    """Returns when a signal ends the server; raises ServingError when it ends by itself."""
    try:
        while _lives(run, state):
            _raise_lost_signal()
            if printer:
                printer.show()
            time.sleep(0.5)
        raise ServingError("TorchServe ended by itself; see: make logs")
    except BaseException as error:
        _ignore_signals()
        if _is_on_record(run, state):
            with starting(run.lock, lambda text: None):
                if _is_on_record(run, state):
                    stop_all(run)
        if printer:
            printer.show()
        if isinstance(error, KeyboardInterrupt):
            return _stopped()
        raise


def _lives(run: RunDirectory, state: State) -> bool:
    """Whether the server still runs. Replicas do while they are on record, since their keeper starts them again."""
    return _is_on_record(run, state) if Group.read(run) else state.running()


def _is_on_record(run: RunDirectory, state: State) -> bool:
    """Whether this server is the one on record. False after ``make stop serve`` has replaced it."""
    now = run.read()
    return now is not None and now.temp == state.temp


def _stopped() -> int:
    print("TorchServe has stopped.", flush=True)
    return 0


def stop_server() -> int:
    """Ends a start that is under way, stops the server and checks that it is gone."""
    run = RunDirectory.default()
    with stopping(run.lock) if run.is_ours() and run.path.exists() else nullcontext() as ended:
        running = stop_all(run)
    print("TorchServe has stopped." if running or ended else "TorchServe is not running.")
    return 0


def clean() -> int:
    """Stops the server and removes its run folder and the store's archives that this project built."""
    stop_server()
    run = RunDirectory.default()
    if run.is_ours():
        shutil.rmtree(run.path, ignore_errors=True)
    for path in sorted([*STORE.glob("*.mar"), *STORE.glob(f"{FOLDER}/*/*.mar")]):
        if not built_here(path):
            print(f"{path} is left in place: {NOT_OURS}")
            continue
        path.unlink()
        digest_file(path).unlink(missing_ok=True)
        forget(STORE, path.stem)
    remove_empty(STORE)
    return 0


def logs() -> int:
    """Prints the last telling lines of every log. FOLLOW=1 prints new lines as they come."""
    return show_logs(replicas.logs(RunDirectory.default()), follow=os.environ.get("FOLLOW") == "1")


def token() -> int:
    """Prints the inference token and nothing else."""
    run = RunDirectory.default()
    print(Client(served_config(run), run.key_file).token())
    return 0


def status() -> int:
    """Prints the status; 0 when all archives answer, 1 otherwise."""
    return show(lambda run, state: show_replicas(group, state) if (group := Group.read(run)) else None)


def restart() -> int:
    """Starts one replica after the other anew, with what the store and the settings hold now."""
    run = RunDirectory.default()
    _end_on_signal()
    run.create()
    with starting(run.lock, lambda text: print(text, flush=True), RESTART):
        group = Group.read(run)
        replicas.roll(run, run.read(), _plan(group.asked.replicas if group else 1))
    return 0


VERBS = {
    "serve": serve, "stop": stop_server, "restart": restart, "status": status, "logs": logs, "token": token,
    "clean": clean,
}  # fmt: skip


def main() -> int:
    """Runs the verb named on the command line."""
    name = sys.argv[1] if len(sys.argv) == 2 else ""
    if name not in VERBS:
        print(f"Usage: python -m serving {{{'|'.join(VERBS)}}}", file=sys.stderr)
        return 2
    try:
        return VERBS[name]()
    except ServingError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:  # a full or read-only disk, or a folder of another user
        print(f"{error.filename or RunDirectory.default().path}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
