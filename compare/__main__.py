"""The verb compare: measures this project's server beside its peers, writes a result and its pages, and prints a
summary. make passes the settings in the environment.

Exit status: 0 measured; 2 the comparison could not run; 130 interrupted.
"""

from __future__ import annotations

import loadtest.patches  # noqa: F401 - first of all: it patches what the modules below import

# isort: split
import os
import signal
import sys
from pathlib import Path

import gevent

from compare import page, request, words
from compare.comparison import Comparison
from compare.errors import CompareError
from export.catalog import CatalogError
from export.device import DeviceError
from export.errors import CheckpointError
from export.own_store import NotBuiltError
from loadtest.errors import LoadTestError
from loadtest.measure.servers import ServerRunsError
from serving.errors import ServingError
from serving.state import RunDirectory

REFUSALS = (CompareError, CatalogError, DeviceError, CheckpointError, LoadTestError, ServingError)
IN_THE_WAY = "TorchServe runs already and make compare starts its own, one after the other; run: make stop"


def main() -> int:
    """Compares; returns the exit status."""
    hub = gevent.get_hub()
    hub.NOT_ERROR = (*hub.NOT_ERROR, KeyboardInterrupt, CompareError)  # main handles these errors, without a traceback
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        return compare()
    except REFUSALS as error:
        print(IN_THE_WAY if isinstance(error, ServerRunsError) else error, file=sys.stderr)
        return 2
    except NotBuiltError as error:
        return error.status
    except KeyboardInterrupt:
        print("\nInterrupted: every server that was started is stopped; nothing was written.", file=sys.stderr)
        return 130


def compare() -> int:
    """Runs the comparison, writes the pages and prints the summary. Raises the errors that ``main`` handles."""
    asked = request.read(os.environ)
    state = RunDirectory.default().read()
    if state and state.running():  # checked before the builds, which take minutes
        raise ServerRunsError(IN_THE_WAY)
    result = Comparison(asked, os.environ).run()
    written = page.write(result, asked.out)
    print(words.sentences(result))
    print(f"\nReport: {_shown(written)}; as JSON: {_shown(asked.out)}")
    return 0


def _interrupt(number: int, frame: object) -> None:
    """Ends the comparison; a second Ctrl-C must not cut the clean stop short."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def _shown(path: Path) -> str:
    return os.path.relpath(path) if path.is_absolute() and path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    sys.exit(main())
