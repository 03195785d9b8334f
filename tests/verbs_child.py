"""The process with the libraries of the verbs loaded, whose forks run them. verbs.py starts it once.

A connection brings {"command", "environment"} and two file descriptors for what is printed. It is answered with the pid
and, in the end, the exit status in the form of ``subprocess``, a line each. Nothing of the checkout is imported before
the fork, since its modules read the environment when they are imported.
"""

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys

LIBRARIES = ("httpx2", "importlib.metadata", "jinja2", "numpy", "psutil", "tomlkit", "yaml")
MOST = 1 << 20  # bytes of a request


def run(command, environment):
    """What ``python -m`` does with the command."""
    os.environ.clear()
    os.environ.update(environment)
    sys.argv, sys.path[0] = list(command), os.getcwd()
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)


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


def main(listener):
    """Forks until standard input ends."""
    for name in LIBRARIES:
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
    if asked := main(socket.socket(fileno=int(sys.argv[1]))):
        run(**asked)
