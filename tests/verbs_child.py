"""The process with libraries loaded, whose forks run verbs and dry runs. verbs.py starts it with their names.

A connection brings {"command", "environment", "cwd"} and two file descriptors for what is printed. It is answered with
the pid and, in the end, the exit status in the form of ``subprocess``, a line each. Nothing of the checkout is imported
before the fork, since its modules read the environment when they are imported, and since a dry run must notice a file
that is missing from an archive.
"""

import atexit
import gc
import importlib
import json
import multiprocessing
import os
import runpy
import select
import signal
import socket
import sys
import traceback
from contextlib import ExitStack

MOST = 1 << 20  # bytes of a request
KEPT = ExitStack()  # what lasts as long as a fork; a context that nothing refers to would end at once


def run(command, environment, cwd):
    """What ``python -m`` does with the command, or ``python`` with a script."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = list(command)
    if command[0].endswith(".py"):
        sys.path[0] = os.path.dirname(command[0])
        runpy.run_path(command[0], run_name="__main__")
        return
    sys.path[0] = cwd
    if command[0] == "export":
        fork_builds()
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)


def fork_builds():
    """Has make archive fork its builds from this process and its dry runs from the parent. Both have the libraries."""
    real = multiprocessing.get_context
    multiprocessing.get_context = lambda method=None: real("fork" if method == "forkserver" else method)
    from tests import forked, verbs

    os.environ[verbs.ADDRESS] = LISTENING
    KEPT.enter_context(forked.forking())


def status_of(asked):
    """Runs it; returns the exit status and prints what Python would print."""
    try:
        run(**asked)
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        print(ended.code, file=sys.stderr)
        return 1
    except BaseException:  # as the interpreter: whatever ended the program is printed
        traceback.print_exc()
        return 1
    return 0


def fork(connection):
    """In the process that waits for the verb: returns in the verb's own process, with what to run."""
    data, printed, _, _ = socket.recv_fds(connection, MOST, 2)
    if pid := os.fork():
        connection.sendall(f"{pid}\n".encode())
        connection.sendall(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n".encode())
        os._exit(0)
    connection.close()
    with open(os.devnull) as nothing:
        for number, file in enumerate((nothing.fileno(), *printed)):
            os.dup2(file, number)
    for file in printed:
        os.close(file)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return json.loads(data)


def main(listener, libraries):
    """Forks until standard input ends."""
    for name in libraries:
        importlib.import_module(name)
    gc.freeze()  # or a fork's first collection copies every page
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the processes that wait
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        if os.fork():
            connection.close()
            continue
        listener.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        return fork(connection)
    return None


if __name__ == "__main__":
    taken = socket.socket(fileno=int(sys.argv[1]))
    LISTENING = taken.getsockname()
    if asked := main(taken, sys.argv[2:]):
        if "torch" not in sys.modules:
            run(**asked)
        else:
            status = status_of(asked)
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)  # the interpreter's clean-up takes up to half a second with torch loaded
