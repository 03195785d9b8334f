"""The hooks of a user's own handler: methods that a subclass of a task may override.

Each hook gets one item or one answer, so that an error in a hook fails only one request. docs/your-handler.md is the
page for users. export/own_handler.py checks the contract when an archive is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import orjson

from handlers.errors import HookError
from handlers.options import Option


class Hooks:
    """The hooks of a task. By default they change nothing."""

    options: ClassVar[dict[str, Option]] = {}

    def load(self) -> None:
        """Loads what the hooks need. Called once in each worker, after the task has loaded and before the model."""

    def preprocess(self, item: Any, options: Mapping[str, Any]) -> Any:
        """The item that the model gets in place of ``item``. Type and shape stay the same. Raises RequestError."""
        return item

    def postprocess(self, answer: Any, options: Mapping[str, Any]) -> Any:
        """The JSON value for one item, made from the task's ``answer``. Raises RequestError."""
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
        """The items after ``preprocess``. Raises HookError if ``preprocess`` changes an item's type or shape."""
        if not self.changes_items:
            return items
        return [_alike(self.preprocess(item, options), _kind(item)) for item in items]

    def answered(self, answer: Any, options: Mapping[str, Any]) -> Any:
        """The answer after ``postprocess``. Raises HookError for None, the value of a missing ``return``."""
        if (found := self.postprocess(answer, options)) is None:
            raise HookError("postprocess returned None, expected the answer for the client")
        return found

    def all_options(self) -> dict[str, Option]:
        """The options of the task and of its subclasses."""
        found: dict[str, Option] = {}
        for each in reversed(type(self).__mro__):
            found |= vars(each).get("options", {})
        return found


def as_json(value: Any) -> bytes:
    """A response body. Raises HookError for a value that JSON cannot represent."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError as error:  # its message names types, not values
        raise HookError(f"postprocess returned a value that JSON cannot represent: {error}") from error


def _alike(changed: Any, expected: str) -> Any:
    if (found := _kind(changed)) != expected:
        raise HookError(f"preprocess returned {found}, expected {expected}")
    return changed


def _kind(value: Any) -> str:
    """A value's type, with the length of a tuple or the shape of an array, for comparison and for messages."""
    if isinstance(value, np.ndarray):
        return f"a {value.dtype} array {list(value.shape)}"
    return f"a tuple of {len(value)}" if isinstance(value, tuple) else f"a value of type {type(value).__name__}"
