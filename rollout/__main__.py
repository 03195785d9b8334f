"""The verbs rollout, rollback and scale. Settings come from the environment, as make passes them."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rollout import asked
from rollout.asked import Bounds
from rollout.exchange import Exchange
from rollout.fleet import Fleet
from rollout.running import running_state
from rollout.scale import scale
from serving.errors import ServingError
from serving.start_lock import ROLLBACK, ROLLOUT, SCALE, starting
from serving.state import RunDirectory
from serving.store import STORE
from serving.versions import held, previous, replaced

BEGAN = time.monotonic()
ENDED = "TorchServe has ended; see: make logs"


def say(text: str) -> None:
    """A line of progress."""
    print(f"  {time.monotonic() - BEGAN:6.1f} s  {text}", flush=True)


def rollout() -> int:
    """Replaces the served version of MODEL by VERSION."""
    name, version, bounds = asked.archive(os.environ, "rollout"), asked.version(os.environ), Bounds.of(os.environ)
    with _alone(name, ROLLOUT) as fleet:
        return _exchange(Exchange(fleet, version, bounds, say))


def rollback() -> int:
    """Replaces the served version by the one before the last rollout."""
    name = asked.archive(os.environ, "rollback")
    version = previous(STORE, name)
    if version is None:
        known = ", ".join(held(STORE, name)) or "none"
        raise ServingError(
            f"No rollout of {name} is on record (versions in {STORE}: {known}); "
            f"to go to one of them: make rollout MODEL={name} VERSION=..."
        )
    run = RunDirectory.default()
    if running_state(run) is None:
        replaced(STORE, name, version, back=True)
        print(f"No server runs. The store has {name} {version} in place again: make serve serves it.")
        return 0
    with _alone(name, ROLLBACK) as fleet:
        return _exchange(Exchange(fleet, version, None, say))


@contextmanager
def _alone(name: str, verb: str) -> Iterator[Fleet]:
    """The servers of the archive, while no other verb starts, stops or changes them. Raises ServingError."""
    with starting(Fleet(name).run.lock, say, verb):  # read again under the lock: another verb may have changed them
        fleet = Fleet(name)
        fleet.recover(say)
        yield fleet


def _exchange(exchange: Exchange) -> int:
    name, old, new = exchange.name, exchange.old, exchange.new
    print(f"{name}: from {old} to {new}", flush=True)
    try:
        exchange.run()
    except ServingError as error:
        print(f"{name} {new} is not rolled out: {error}", file=sys.stderr)
        served = f"{name} {old} is served as before." if exchange.server.state.running() else ENDED
        print(served, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"Interrupted; {name} {exchange.served()} is served.", file=sys.stderr)
        return 130
    print(f"{name} {new} is served, and after make stop serve too. To go back: make rollback MODEL={name}")
    return 0


def change() -> int:
    """Changes the workers, their threads or the batches of MODEL, and writes the change to models.toml."""
    name, settings = asked.archive(os.environ, "scale"), asked.settings(os.environ)
    with _alone(name, SCALE) as fleet:
        return scale(fleet, settings, say)


VERBS = {"rollout": rollout, "rollback": rollback, "scale": change}


def _interrupted(number: int, frame: object) -> None:
    """Ends a verb in good order. A second signal must not interrupt this."""
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> int:
    """Runs the verb named on the command line."""
    name = sys.argv[1] if len(sys.argv) == 2 else ""
    if name not in VERBS:
        print(f"Usage: python -m rollout {{{'|'.join(VERBS)}}}", file=sys.stderr)
        return 2
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, _interrupted)
    try:
        return VERBS[name]()
    except ServingError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:  # a full or read-only disk
        print(f"{error.filename or STORE}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
