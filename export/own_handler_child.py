"""Imports a user's own handler and checks its class. own_handler.py runs this script.

It must not import the checkout. As in an archive, only a folder with the file and ``handlers`` is on its path. The
result is written to a file: {} for a correct handler, else {"found", "class"} or {"missing"}.
"""

import importlib
import inspect
import json
import sys
import traceback
from pathlib import Path
from typing import Any

NAME = "user_handler"
ARGUMENTS = {"preprocess": ("item", "options"), "postprocess": ("answer", "options"), "load": ()}
OPTIONS = "options"


class Refused(Exception):
    """The handler breaks the contract. ``name`` is the user's class, if there is one."""

    def __init__(self, found: str, name: str = "") -> None:
        super().__init__(found)
        self.name = name


def main(folder: Path, entry: str, found: Path) -> None:
    """Checks the handler in ``folder`` against the task's module ``entry``, and writes the result to ``found``."""
    sys.path[0] = str(folder)  # replaces this script's folder, which belongs to the checkout
    base = classes(importlib.import_module(f"handlers.tasks.{entry}"))[0]
    problem = {}
    try:
        check(imported(), base)
    except ModuleNotFoundError as error:
        problem = {"missing": error.name or str(error)}
    except Refused as error:
        problem = {"found": str(error), "class": error.name}
    found.write_text(json.dumps(problem))


def imported() -> Any:
    """The user's module. Raises ModuleNotFoundError, and Refused for any other error of the import."""
    try:
        return importlib.import_module(NAME)
    except ModuleNotFoundError:
        raise
    except Exception as error:
        frames = [each for each in traceback.extract_tb(error.__traceback__) if Path(each.filename).stem == NAME]
        at = f" in line {frames[-1].lineno}" if frames else ""
        reason = str(error).partition(" (/")[0]  # an ImportError ends with a path of the scratch folder
        raise Refused(f"fails{at} while it is imported ({type(error).__name__}: {reason})") from error


def classes(module: Any) -> list[type]:
    """The classes that TorchServe finds in an entry module."""
    return [each for _, each in inspect.getmembers(module, inspect.isclass) if each.__module__ == module.__name__]


def check(module: Any, base: type) -> None:
    """Raises Refused if the module has not exactly one class, or if its class breaks the contract."""
    found = classes(module)
    if hasattr(module, "handle"):
        raise Refused("has a function handle, which TorchServe would call in place of the class; rename it")
    if len(found) != 1:
        names = " and ".join(each.__name__ for each in found)
        raise Refused(f"has the classes {names}; TorchServe takes exactly one" if found else "has no class")
    (own,) = found
    if not issubclass(own, base):
        parents = ", ".join(each.__name__ for each in own.__bases__)
        name = "" if own.__name__ == base.__name__ else own.__name__
        raise Refused(f"has the class {own.__name__}, which subclasses {parents} and not {base.__name__}", name)
    for name, value in vars(own).items():
        check_member(own, base, name, value)


def check_member(own: type, base: type, name: str, value: Any) -> None:
    """Refuses members that override the task's, except the hooks and the options."""
    if name in ARGUMENTS:
        check_hook(own, name, value)
    elif name == OPTIONS:
        check_options(own, base, value)
    elif name == "__init__" or (hasattr(base, name) and not (name.startswith("__") and name.endswith("__"))):
        hooks = ", ".join([*ARGUMENTS, OPTIONS])
        raise Refused(f"overrides {name}, which is the task's own; a handler may override {hooks}", own.__name__)


def check_hook(own: type, name: str, value: Any) -> None:
    """Refuses a hook that is no plain method or has other arguments."""
    expected = ", ".join(("self", *ARGUMENTS[name]))
    plain = inspect.isfunction(value) and not inspect.iscoroutinefunction(value)
    if not plain or inspect.isgeneratorfunction(value) or inspect.isasyncgenfunction(value):
        raise Refused(f"has a {name} that is no plain method; expected def {name}({expected})", own.__name__)
    try:
        inspect.signature(value).bind(*(None for _ in ("self", *ARGUMENTS[name])))
    except TypeError:
        given = ", ".join(map(str, inspect.signature(value).parameters.values()))
        raise Refused(f"has {name}({given}) where {name}({expected}) is called", own.__name__) from None


def check_options(own: type, base: Any, options: Any) -> None:
    """Refuses options with a name that the task uses, and values that are no options."""
    from handlers.errors import RequestError

    if not isinstance(options, dict):
        raise Refused('has options that are no dict; expected {"name": Whole(1, 9, default=3)}', own.__name__)
    taken = {*base().all_options(), *base.shape.fields, base.shape.key, "data", "body", "model_name"}
    for name, option in options.items():
        if not isinstance(name, str) or name in taken:
            raise Refused(f"has the option {name!r}, a name that the task has already; choose another", own.__name__)
        if not (hasattr(option, "read") and hasattr(option, "default")):
            kinds = "Whole, Number or OneOf of handlers.options"
            raise Refused(f"has the option {name} of type {type(option).__name__}; expected {kinds}", own.__name__)
        try:
            None if option.default is None else option.read(name, option.default)
        except RequestError as error:
            raise Refused(f"has an option with the default {option.default!r}: {error}", own.__name__) from None


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2], Path(sys.argv[3]).resolve())
