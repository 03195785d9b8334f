"""The requests that both versions are asked, and whether their answers agree.

A model of the catalog gets the requests of the load test; every archive gets its own example. Two answers agree if the
task's comparer says so and their best label, token or text is the same, or one that lower precision may swap with it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from export.catalog import CatalogError, Model
from export.catalog import model as catalog_model
from export.tasks import TASKS
from export.tasks.texts import near_best
from loadtest.errors import LoadTestError
from loadtest.load.golden import Golden
from loadtest.load.payloads import Payload, payloads
from serving.client import Client
from serving.errors import ServingError
from serving.warm_up import Example

EXAMPLE = "its own example"
SHOWN = 3  # requests whose answers differ


@dataclass(frozen=True)
class Compared:
    """The number of requests that both versions answered, and the names of those that the new one answered differently
    or not at all. ``unexpected`` is its wrong answer to its own example, if the model's row has the right one."""

    asked: int
    different: list[str]
    unexpected: str = ""

    @property
    def percent(self) -> float:
        """The percentage of the requests that were answered differently."""
        return 100 * len(self.different) / max(1, self.asked)

    def __str__(self) -> str:
        if not self.different:
            return f"{self.asked} of {self.asked} requests are answered alike"
        shown = ", ".join(self.different[:SHOWN]) + (", ..." if len(self.different) > SHOWN else "")
        return f"{len(self.different)} of {self.asked} requests are answered differently: {shown}"


class Questions:
    """The requests for an archive that ``description`` describes. Raises ServingError if no request is known."""

    def __init__(self, name: str, description: dict[str, Any]) -> None:
        own = description.get("customizedMetadata") or {}
        self._task, self._random, self._own = str(own.get("task", "")), bool(own.get("random_weights")), own
        self._model = _known(str(own.get("model", "")))
        example = Example.of(description)
        found = [Payload(EXAMPLE, example.body(), example.content_type)] if example.is_here() else []
        if self._model:
            found += _payloads(self._model)
        if not found or self._task not in TASKS:
            raise ServingError(f"{name}: no request for it is known, so its versions cannot be compared.")
        self.all = found

    def compare(self, client: Client, old: str, new: str) -> Compared:
        """Asks both archives ("name/version") each request. A request that the old one does not answer is left out."""
        asked, different = 0, []
        for payload in self.all:
            before = client.predict(old, payload.body, payload.content_type)
            if not before.ok:
                continue
            asked += 1
            after = client.predict(new, payload.body, payload.content_type)
            if not after.ok:
                different.append(f"{payload.name} ({after.status_code})")
            elif not self._agree(payload, before.content, after.content):
                different.append(payload.name)
        return Compared(asked, different, self._unexpected(client, new))

    def agree(self, before: bytes, after: bytes) -> bool | None:
        """Whether two answers to the same request of a client agree. A client may ask in a form that the task's
        comparer cannot read, such as KServe's. Then names must be equal, and numbers close to each other. None if
        neither can be read, as with binary tensors."""
        if before == after:
            return True
        try:
            old, new = _outputs(json.loads(before)), _outputs(json.loads(after))
        except ValueError:
            return None
        return self._alike("", old, new, own_form=True)

    def _agree(self, payload: Payload, before: bytes, after: bytes) -> bool:
        try:
            old, new = json.loads(before), json.loads(after)
        except ValueError:
            return before == after
        return self._alike(payload.name, old, new, bool(self._own.get("handler")))

    def _alike(self, name: str, old: Any, new: Any, own_form: bool) -> bool:
        golden = Golden(self._task, {name: old}, own_form)
        return golden.matches(Payload(name, b"", ""), json.dumps(new).encode()) and self._same_best(old, new)

    def _same_best(self, old: Any, new: Any) -> bool:
        headline = TASKS[self._task].headline
        try:
            best = headline(old) if headline else None
        except (KeyError, IndexError, TypeError, AttributeError):
            return True  # an own form, which has no best label
        try:
            if not headline or best == headline(new):
                return True
            scores = {each.get("label", each.get("token")): each["score"] for each in new["predictions"]}
            return near_best(scores, best)
        except (KeyError, IndexError, TypeError, AttributeError):
            return False

    def _unexpected(self, client: Client, new: str) -> str:
        headline = TASKS[self._task].headline
        if not self._model or not self._model.expect or not headline or self._random or self.all[0].name != EXAMPLE:
            return ""
        reply = client.predict(new, self.all[0].body, self.all[0].content_type)
        try:
            found = headline(reply.json())
        except (KeyError, IndexError, TypeError, ValueError):
            found = reply.text[:80]
        return "" if found == self._model.expect else f"{found!r}, expected {self._model.expect!r}"


def _outputs(answer: Any) -> Any:
    """The outputs of an answer of the Open Inference Protocol, which also names the version. Other answers are
    unchanged."""
    return answer["outputs"] if isinstance(answer, dict) and {"model_name", "outputs"} <= answer.keys() else answer


def _known(name: str) -> Model | None:
    try:
        return catalog_model(name)
    except CatalogError:
        return None


def _payloads(model: Model) -> list[Payload]:
    try:
        return list(payloads(model))
    except LoadTestError:  # the photographs are not installed here
        return []
