"""Runs each build in a separate process, forked from one that has loaded the libraries.

There are two reasons for a new process per archive. TorchScript's names depend on what a process scripted before, so
only a new process gives the same bytes. And a crash of a compiler ends only one build. Knows processes and pipes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.catalog import Row
from export.errors import CheckpointError
from export.quiet import quieten
from export.weights import Choice

if TYPE_CHECKING:
    from export.build import Built

# What the builds of a kind of model use, and what those of some tasks use beside it.
OF_KIND = {
    "text": ("torch", "transformers.models.bert.modeling_bert"),
    "image": ("torch", "torchvision", "transformers", "sklearn.datasets"),
    "none": (),
}
OF_TASK = {"embedding": ("sentence_transformers",), "rerank": ("sentence_transformers",)}


def preload(rows: Iterable[Row]) -> None:
    """Has the fork server, once it starts, import what the builds of these rows use, so that each starts with it
    loaded. An import takes seconds, so what none of them uses is left out."""
    found = {name for row in rows for name in (*OF_KIND[row.model.kind], *OF_TASK.get(row.model.task, ()))}
    get_context("forkserver").set_forkserver_preload([*sorted(found), "export.build"])


def build_in_process(
    row: Row, device: str, choice: Choice, store: Path, version: str, references: Path, report: Callable[[str], Any]
) -> Built | str:
    """Builds ``row`` in a separate process, into ``store``. For ``references`` see export.build.build. ``preload``
    comes before the first. Returns the record of the archive, or a sentence with the reason why it was not built."""
    # torch.jit.script writes some attributes in the order of a set of strings, which depends on the hash seed.
    os.environ["PYTHONHASHSEED"] = "0"
    context = get_context("forkserver")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, row, device, choice, store, version, references))
    process.start()
    theirs.close()
    outcome: Built | str = ""
    try:
        with contextlib.suppress(EOFError):
            while True:
                kind, value = ours.recv()
                if kind == "stage":
                    report(value)
                else:
                    outcome = value
        process.join()
    finally:
        process.kill()
        process.join()
    return outcome or f"the build process ended with status {process.exitcode}"


def _work(pipe: Connection, row: Row, device: str, choice: Choice, store: Path, version: str, references: Path) -> None:
    """Builds in the child process, and sends progress and result to the parent."""
    from export.build import ParityError, build
    from export.dry_run import DryRunError
    from export.steps import StepError

    if row.model.kind != "none":
        quieten()
    try:
        outcome: Any = build(row, device, choice, store, lambda text: pipe.send(("stage", text)), version, references)
    except (CheckpointError, StepError, DryRunError, ParityError) as error:
        outcome = str(error)
    except ModuleNotFoundError as error:
        outcome = f"{error.name} is not installed for {sys.executable}; install it there, or leave the variant out"
    except OSError as error:
        outcome = f"{error.strerror or error}: {error.filename or store}"
    except Exception as error:
        if os.strerror(errno.ENOSPC) in str(error):  # safetensors writes files itself and raises its own errors
            outcome = f"{os.strerror(errno.ENOSPC)}: {store}"
        elif "InvalidCxxCompiler" in f"{type(error).__name__} {error}":  # torch._inductor's
            outcome = "no C++ compiler was found; install g++, or name one in CXX, or leave the variant out"
        else:
            traceback.print_exc()
            outcome = f"a bug of ours ({type(error).__name__}); the traceback is above"
    pipe.send(("outcome", outcome))
