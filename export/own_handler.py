"""A user's own handler: one Python file whose class subclasses a task of handlers/tasks.

Refuses a file that breaks the contract before a build, copies it into an archive's stage, and reports its errors in a
dry run. The contract is in handlers/hooks.py, and own_handler_child.py checks it. docs/your-handler.md is the page for
users.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from export.archive import HANDLERS
from export.catalog import Model
from export.errors import CheckpointError
from export.tasks import TASKS
from serving.environment import worker_environment

# The file's name in every archive. Its own name could hide a library of the same name.
FILE = "user_handler.py"
CHILD = Path(__file__).with_name("own_handler_child.py")
TIMEOUT_S = 120
_FRAME = re.compile(rf'File "[^"]*{re.escape(FILE)}", line (\d+), in (\S+)')


class HandlerError(CheckpointError):
    """The user's own handler breaks the contract. The message says how, and shows a correct handler."""


def digest(model: Model) -> str:
    """SHA-256 of the file, as hex. Raises HandlerError if it cannot be read."""
    return hashlib.sha256(_bytes(model)).hexdigest()


def stage(model: Model, folder: Path) -> dict[str, str]:
    """Copies the file into an archive's stage. Returns its entry in the archive's record."""
    data = _bytes(model)
    (folder / FILE).write_bytes(data)
    return {"file": Path(model.handler).name, "sha256": hashlib.sha256(data).hexdigest()}


def check(model: Model) -> None:
    """Imports the file as in a worker, with only ``handlers`` and the installed packages, and checks its class. Raises
    HandlerError."""
    data = _bytes(model)
    _parsed(model, data)
    with tempfile.TemporaryDirectory(prefix="handler-") as scratch:
        folder, found = Path(scratch, "archive"), Path(scratch, "found.json")
        folder.mkdir()
        (folder / FILE).write_bytes(data)
        (folder / HANDLERS.name).symlink_to(HANDLERS)
        printed = _run(model, [str(folder), TASKS[model.task].entry, str(found)])
        if not found.exists():
            raise _refused(model, f"ended Python while it was imported ({printed or 'it printed nothing'})")
        problem = json.loads(found.read_text())
    if missing := problem.get("missing"):
        raise _refused(model, _missing(model, missing))
    if problem:
        raise _refused(model, problem["found"], problem.get("class", ""))


def _bytes(model: Model) -> bytes:
    try:
        return Path(model.handler).expanduser().read_bytes()
    except (OSError, RuntimeError, ValueError) as error:  # for example no such file, no such home, a zero byte
        reason = getattr(error, "strerror", None) or str(error)
        raise _refused(model, f"cannot be read ({reason})") from None


def _parsed(model: Model, data: bytes) -> None:
    """Refuses a file that is no Python, and relative imports."""
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError) as error:
        line = f"in line {error.lineno} " if isinstance(error, SyntaxError) and error.lineno else ""
        raise _refused(model, f"is no valid Python {line}({getattr(error, 'msg', error)})") from None
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            what = f"has a relative import in line {node.lineno}, and an archive has only this file"
            raise _refused(model, f"{what}: put that code into it")


def _run(model: Model, arguments: list[str]) -> str:
    """Runs the child process. Returns the last line that it printed."""
    command = [sys.executable, str(CHILD), *arguments]
    try:
        done = subprocess.run(
            command, cwd=arguments[0], env=worker_environment(), capture_output=True, text=True, errors="replace",
            timeout=TIMEOUT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise _refused(model, f"was not imported within {TIMEOUT_S} s") from None
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[-1] if lines else ""


def _missing(model: Model, module: str) -> str:
    name, beside = module.partition(".")[0], Path(model.handler).expanduser().parent
    if name == HANDLERS.name:
        return f"imports {module}, which is no module of this project"
    if (HANDLERS.parent / name).is_dir() and (HANDLERS.parent / name / "__init__.py").exists():
        return f"imports {module}, which archives do not have; of this project's folders, they have only handlers"
    if (beside / f"{name}.py").exists() or (beside / name).is_dir():
        return f"imports {module}, and an archive has only this file: put that code into it, or install it"
    return f"imports {module}, which is not installed for {sys.executable}: install it there"


def failed(model: Model, failure: dict[str, Any]) -> str:
    """The message for the first request of a dry run that failed, with a correct handler."""
    kind, message = failure["kind"], failure["message"]
    at = f", line {failure['line']}, in {failure['function']}: " if failure["line"] else ": "
    detail = message if kind == "HookError" else f"{kind}: {message}"
    return str(_refused(model, f"failed on one of this project's own requests{at}{detail}", failure["class"]))


def not_loaded(model: Model, reason: str, printed: str) -> str:
    """The message for an archive that does not load. ``printed`` is the output of its process."""
    frames = _FRAME.findall(printed)
    at = f", line {frames[-1][0]}, in {frames[-1][1]}: " if frames else ": "
    return f"{model.handler}{at}{reason}" if frames else reason


def code(task: str, name: str = "") -> str:
    """The code of a handler that changes nothing, with the types of its hooks' arguments."""
    record = TASKS[task]
    (base,) = [
        node.name for node in ast.parse((HANDLERS / "tasks" / f"{record.entry}.py").read_text()).body
        if isinstance(node, ast.ClassDef)
    ]  # fmt: skip
    return f"""\
from handlers.tasks.{record.entry} import {base}


class {name or f"My{base}"}({base}):
    def preprocess(self, item, options):  # item: {record.item}
        return item

    def postprocess(self, answer, options):  # answer: {record.answer}
        return answer
"""


def _refused(model: Model, found: str, name: str = "") -> HandlerError:
    shown = "".join(f"    {line}".rstrip() + "\n" for line in code(model.task, name).splitlines())
    return HandlerError(
        f"{model.handler} {found}; a handler of the task {model.task} is written like this "
        f"(docs/your-handler.md):\n\n{shown}"
    )
