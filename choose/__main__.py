"""The verb choose: searches, decides, records the choice in models.toml and prints it. make passes the settings in the
environment. Other modules measure.

Exit status: 0 chosen; 1 nothing meets the objective; 2 the search could not run; 130 interrupted.
"""

from __future__ import annotations

import loadtest.patches  # noqa: F401 - first of all: it patches what the modules below import

# isort: split
import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

import gevent

from choose import folder, own_server, request
from choose.candidates import require_held_out
from choose.errors import ChooseError
from choose.request import Request
from export.catalog import CatalogError, model
from export.device import DeviceError
from export.errors import CheckpointError
from export.own_store import NotBuiltError
from loadtest.errors import LoadTestError
from loadtest.measure.servers import ServerRunsError
from serving.errors import ServingError

REFUSALS = (ChooseError, CatalogError, DeviceError, CheckpointError, LoadTestError, ServingError)


def main() -> int:
    """Chooses for each model in turn; returns the exit status."""
    end_on_signals()
    try:
        asked = request.read(os.environ)
        for name in () if asked.checkpoint else asked.models:
            require_held_out(asked, model(name))  # checked first, before minutes are spent on other models
        _require_optuna()
        folder.require_writable()
        own_server.claim()
        return max([choose(asked, name) for name in asked.models])
    except ServerRunsError:
        print(own_server.IN_THE_WAY, file=sys.stderr)
        return 2
    except REFUSALS as error:
        print(error, file=sys.stderr)
        return 2
    except NotBuiltError as error:
        return error.status
    except KeyboardInterrupt:
        print("\nInterrupted: the server is stopped and every finished trial is kept; the same command continues.",
              file=sys.stderr)  # fmt: skip
        return 130


def choose(asked: Request, name: str) -> int:
    """Chooses for one model, writes the pages, records the choice if there is one, and prints it."""
    from choose import page, record, words
    from choose.chooser import Chooser

    decision, where = Chooser(asked, name, os.environ).choose()
    page_path = page.write(decision, where)
    print(words.sentences(decision))
    if decision["winner"]["meets"] and model(name).kind != "none":  # null has only one variant
        record.record(decision)
    print(f"\nReport: {_shown(page_path)}; as JSON: {_shown(where / 'decision.json')}")
    return 0 if decision["winner"]["meets"] else 1


def _require_optuna() -> None:
    """Raises ChooseError without optuna. An interpreter that PYTHON= names may lack it; .venv has it."""
    if find_spec("optuna") is None:
        raise ChooseError("make choose needs optuna, which this Python lacks; run: pip install 'optuna>=5,<6'")


def end_on_signals() -> None:
    """From now on, SIGINT and SIGTERM raise KeyboardInterrupt in the caller, once, without gevent's traceback."""
    hub = gevent.get_hub()
    hub.NOT_ERROR = (*hub.NOT_ERROR, KeyboardInterrupt)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def _interrupt(number: int, frame: object) -> None:
    """Ends the search; a second Ctrl-C must not cut the clean stop short."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def _shown(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    sys.exit(main())
