"""The process with the libraries loaded, whose forks run dry runs. forked.py starts it once.

Reads lines of {"arguments", "cwd", "printed"}, forks for each, and answers with the fork's status in the form of
``subprocess``. It imports the third-party modules of TorchServe's worker and the handlers. It imports nothing from the
checkout, so that a file missing from the archive is noticed.
"""

import gc
import importlib
import importlib.util
import json
import os
import sys
import traceback
from pathlib import Path

CHILD = Path(__file__).resolve().parent.parent / "export" / "dry_run_child.py"


def load_libraries() -> None:
    """Imports the libraries that a worker imports for each archive, which takes seconds. Starts no threads, since a
    fork would not have them."""
    for name in ("torch", "torchvision", "transformers.models.bert.modeling_bert", "ts.model_loader", "ts.service"):
        importlib.import_module(name)


def run(arguments: list[str], cwd: str, printed: str) -> None:
    """Does in the fork what ``python export/dry_run_child.py ARGUMENTS`` does."""
    os.chdir(cwd)
    log = os.open(printed, os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    found = importlib.util.spec_from_file_location("dry_run_child", CHILD)
    child = importlib.util.module_from_spec(found)
    found.loader.exec_module(child)
    child.main(*map(Path, arguments))


def fork(line: str) -> int:
    """Runs the line's command in a fork; returns the pid to wait for."""
    if pid := os.fork():
        return pid
    status = 1
    try:
        run(**json.loads(line))
        status = 0
    except BaseException:  # SystemExit too, since the loop belongs to the parent
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # skips the interpreter's clean-up, which takes as long as the imports


def main() -> None:
    load_libraries()
    gc.freeze()  # otherwise the first garbage collection of a fork copies every page
    for line in sys.stdin:
        pid = fork(line)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
