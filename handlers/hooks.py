"""The seam for a user's own handler: what a subclass of a task may change, and what it is given.

Each hook gets one item or one answer, so that an error in it fails one request. docs/your-handler.md is the page for
users; export/own_handler.py checks the contract when an archive is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import orjson

from handlers.errors import HookError
from handlers.options import Option


class Hooks:
    """The hooks of a task. Those of this project change nothing."""

    options: ClassVar[dict[str, Option]] = {}

    def load(self) -> None:
        """Called once in each worker, when the task has loaded and before the first request: for what hooks need."""

    def preprocess(self, item: Any, options: Mapping[str, Any]) -> Any:
        """What the model gets in place of one item, of the same type and shape. Raises RequestError."""
        return item

    def postprocess(self, answer: Any, options: Mapping[str, Any]) -> Any:
        """The JSON value for one item, from the task's own ``answer``. Raises RequestError."""
        return answer

    @property
    def changes_items(self) -> bool:
        """Whether a subclass has its own ``preprocess``."""
        return type(self).preprocess is not Hooks.preprocess

    @property
    def changes_answers(self) -> bool:
        """Whether a subclass has its own ``postprocess``."""
        return type(self).postprocess is not Hooks.postprocess

    def changed(self, items: list[Any], options: Mapping[str, Any]) -> list[Any]:
        """The items through ``preprocess``. Raises HookError for one of another type or shape."""
        if not self.changes_items:
            return items
        return [_alike(self.preprocess(item, options), _kind(item)) for item in items]

    def answered(self, answer: Any, options: Mapping[str, Any]) -> Any:
        """The answer through ``postprocess``. Raises HookError for None, which a missing ``return`` gives."""
        if (found := self.postprocess(answer, options)) is None:
            raise HookError("postprocess returned None, expected what the client is to get")
        return found

    def all_options(self) -> dict[str, Option]:
        """The options of the task, and those that a subclass adds."""
        found: dict[str, Option] = {}
        for each in reversed(type(self).__mro__):
            found |= vars(each).get("options", {})
        return found


def as_json(value: Any) -> bytes:
    """A response body. Raises HookError for what JSON has not."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError as error:  # its message names types, not values
        raise HookError(f"postprocess returned what is no JSON: {error}") from error


def _alike(changed: Any, expected: str) -> Any:
    if (found := _kind(changed)) != expected:
        raise HookError(f"preprocess returned {found}, expected {expected}")
    return changed


def _kind(value: Any) -> str:
    """A value's type, with the parts of a tuple or the shape of an array, for comparison and for messages."""
    if isinstance(value, np.ndarray):
        return f"a {value.dtype} array {list(value.shape)}"
    return f"a tuple of {len(value)}" if isinstance(value, tuple) else f"a value of type {type(value).__name__}"
