"""Publishes a file into a store and kills itself at the n-th file operation: argv is store, built, name, n.

Runs as a separate process, for test_archive_faults.py. An audit hook sees every open, rename and write-back of Python,
so a loop over n covers all points. Ends with status 0 when n is beyond the last operation.
"""

import os
import signal
import sys
from pathlib import Path

from serving.store import publish


def main() -> None:
    store, built, name, moment = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    touched = 0

    def on_event(event: str, arguments: tuple) -> None:
        nonlocal touched
        if event in ("open", "os.rename", "os.remove", "os.truncate"):
            touched += 1
            if touched == moment:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(on_event)
    publish(built, store / name)


if __name__ == "__main__":
    main()
