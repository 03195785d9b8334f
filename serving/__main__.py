"""The verbs serve, stop, status, logs and token. Settings come from the environment, as make passes them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from serving.choice import names
from serving.client import Client
from serving.config import Config
from serving.errors import ServingError
from serving.plan import Plan
from serving.server import start, stop, wait_until_ready
from serving.state import RunDirectory, State
from serving.store import STORE, archives
from serving.warm_up import Example, warm_up

NOT_OURS = "not built here"


def serve() -> int:
    """Starts the server with the store's archives; returns when all are warm, or stays with FOREGROUND=1."""
    run, config = RunDirectory.default(), Config.load()
    plan = Plan.of(STORE, archives(STORE, names(os.environ, "MODELS"), names(os.environ, "VARIANTS")))
    state = run.read()
    if state and state.running():
        return _already_running(state, plan)
    stop(run)  # what a crash may have left: workers, sockets, a stale record
    began = time.monotonic()
    _end_on_signal()
    print(f"Starting TorchServe with {', '.join(plan.archives)}", flush=True)
    for notice in plan.notices:
        print(f"  {notice}", flush=True)
    client, foreground = Client(config, run.key_file), os.environ.get("FOREGROUND") == "1"
    try:
        state = start(config, run, plan)
        wait_until_ready(state, run, client, lambda text: _progress(began, text))
        examples = {name: warm_up(client, name) for name in plan.ours}
        print(f"Ready after {time.monotonic() - began:.1f} s. Ask it, from this folder:\n")
        _show_curl(examples, config, client)
        for name in plan.foreign:
            print(f"  # {name} ({NOT_OURS}): {config.inference}/predictions/{name}; its handler reads the request\n")
        if foreground:
            _stay(state)
    except BaseException as error:
        for number in (signal.SIGTERM, signal.SIGINT):  # a second Ctrl-C must not cut the clean stop short
            signal.signal(number, signal.SIG_IGN)
        stop(run)
        if foreground and isinstance(error, KeyboardInterrupt):
            print("TorchServe has stopped.", flush=True)
            return 0
        raise
    return 0


def _progress(began: float, text: str) -> None:
    print(f"  {time.monotonic() - began:5.1f} s  {text}", flush=True)


def _already_running(state: State, plan: Plan) -> int:
    if state.archives == plan.archives and state.settings == plan.settings:
        print(f"TorchServe already runs (pid {state.pid}) with these archives and settings; see: make status")
        return 0
    other = f"archives ({', '.join(state.archives)})"
    if state.archives == plan.archives:
        names = [name for name in plan.archives if state.settings.get(name) != plan.settings.get(name)]
        other = f"settings of {', '.join(names)} than models.toml now has"
    print(f"TorchServe already runs (pid {state.pid}) with other {other}; run: make stop serve", file=sys.stderr)
    return 1


def _show_curl(examples: dict[str, Example], config: Config, client: Client) -> None:
    for name, example in examples.items():
        print(f"  # {name}")
        print(f"  {example.curl(f'{config.inference}/predictions/{name}', client.token())}\n")


def _end_on_signal() -> None:
    """SIGTERM and Ctrl-C end a start cleanly, and a foreground server."""

    def end(number: int, frame: object) -> None:
        # Nothing that takes a lock: the main thread may hold it, and this handler interrupts that thread.
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)


def _stay(state: State) -> None:
    """Returns never: a signal raises KeyboardInterrupt, and a server that ends by itself ServingError."""
    while state.running():
        time.sleep(0.5)
    raise ServingError("TorchServe ended by itself; see: make logs")


def stop_server() -> int:
    """Stops the server and checks that it is gone."""
    print("TorchServe has stopped." if stop(RunDirectory.default()) else "TorchServe is not running.")
    return 0


def status() -> int:
    """A line per archive; 0 when all answer, 1 otherwise."""
    run = RunDirectory.default()
    state = run.read()
    if state is None or not state.running():
        print(
            "TorchServe is not running; run: make serve"
            if state is None
            else "TorchServe has died; run: make serve, which clears up after it"
        )
        return 1
    client = Client(Config.load(), run.key_file, timeout_s=30)
    healthy = [_status_line(client, name, name in state.foreign) for name in state.archives]
    return 0 if all(healthy) else 1


def _status_line(client: Client, name: str, foreign: bool) -> bool:
    try:  # only an archive of ours is known to answer for itself
        described = client.registration(name) if foreign else client.describe(name)
    except ServingError as error:
        print(f"{name}: does not answer ({error})")
        return False
    workers = described["workers"]
    ready = sum(worker["status"] == "READY" for worker in workers)
    origin = f" ({NOT_OURS})" if foreign else ""
    print(f"{name}: version {described['modelVersion']}, {ready}/{len(workers)} workers ready{origin}")
    return bool(workers) and ready == len(workers)


def logs() -> int:
    """The last lines of every log; FOLLOW=1 stays with them."""
    run = RunDirectory.default()
    files = sorted(str(path) for path in run.logs.glob("*.log"))
    if not files:
        raise ServingError(f"There are no logs in {run.logs}; run: make serve")
    follow = ["-F"] if os.environ.get("FOLLOW") == "1" else []
    return subprocess.run(["tail", "-n", "60", *follow, *files], check=False).returncode


def token() -> int:
    """Prints the inference token and nothing else."""
    print(Client(Config.load(), RunDirectory.default().key_file).token())
    return 0


VERBS = {"serve": serve, "stop": stop_server, "status": status, "logs": logs, "token": token}


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
    except OSError as error:  # a full or read-only disk, a folder that is not ours
        print(f"{error.filename or RunDirectory.default().path}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; TorchServe is stopped." if name == "serve" else "Interrupted.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
