"""The verbs serve, stop, restart, status, logs, token and clean. Settings come from the environment, as make passes
them."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import nullcontext

from serving.client import Client
from serving.errors import ServingError
from serving.identity import built_here
from serving.logs import show as show_logs
from serving.replicas import verbs as replicas
from serving.replicas.group import Group, served_config
from serving.replicas.show import status as show_replicas
from serving.replicas.start import stop_all
from serving.serve import chosen_plan, serve
from serving.signals import end_on_signal
from serving.start_lock import RESTART, starting, stopping
from serving.state import RunDirectory
from serving.status import NOT_OURS, show
from serving.store import STORE, digest_file
from serving.versions import FOLDER, forget, remove_empty


def stop_server() -> int:
    """Ends a start that is under way, stops the server and checks that it is gone."""
    run = RunDirectory.default()
    title = state.title if (state := run.read()) else "TorchServe"
    with stopping(run.lock) if run.is_ours() and run.path.exists() else nullcontext() as ended:
        running = stop_all(run)
    print(f"{title} has stopped." if running or ended else "TorchServe is not running.")
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
    """Prints the last important lines of every log. FOLLOW=1 prints new lines as they come."""
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
    """Restarts the replicas one after the other, with the present archives and settings."""
    run = RunDirectory.default()
    end_on_signal()
    run.create()
    with starting(run.lock, lambda text: print(text, flush=True), RESTART):
        group = Group.read(run)
        replicas.roll(run, run.read(), chosen_plan(group.asked.replicas if group else 1))
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
