"""The tasks by name. Each module of this package that defines ``TASK`` is a task."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from export.tasks.task import Request, Task, inputs_of, json_request, outputs_of

__all__ = ["TASKS", "Request", "Task", "inputs_of", "json_request", "outputs_of"]

_MODULES = [import_module(f"{__name__}.{each.name}") for each in iter_modules(__path__)]
TASKS: dict[str, Task] = {module.TASK.name: module.TASK for module in _MODULES if hasattr(module, "TASK")}
