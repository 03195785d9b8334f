"""Answers requests for explanations: reads them, checks their limits and computes the attributions of each item.

Each item is explained alone, so that its explanation does not depend on the other items of its batch.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from handlers.admission import refusals
from handlers.budget import Budget
from handlers.errors import ArchiveError, RequestError, TooLarge
from handlers.explanations import Attributions, Chosen, Explainer, Path, Target
from handlers.explanations.answers import MOST_VALUES, explanation, wants_png, write
from handlers.figures import BEGAN, stages
from handlers.options import OneOf, Option, Whole, read_options
from handlers.requests import content_type_of, read_payload

if TYPE_CHECKING:
    from handlers.batch import Batch, Job
    from handlers.service import Service

MOST_ITEMS = 8  # of one request
STEPS = Whole(1, 300, 50)
BASELINES = {"text": OneOf(("pad", "zero"), "pad"), "image": OneOf(("black", "white", "mean"), "black")}
SHAPING = frozenset({"top_k", "aggregation_strategy"})  # options that change only the form of an answer
# Limits of one forward and backward pass, by device. Memory grows with them.
TOKENS, PIXELS = {"cpu": 512, "gpu": 16_384}, {"cpu": 4 * 224 * 224, "gpu": 32 * 224 * 224}
WARM_UP_STEPS = 4
CURE = 'lower "steps", or send less at once'


@dataclass
class ExplanationRequest:
    """A request for explanations. ``read`` has the keys that are added to each item's explanation, ``png`` says that
    the answer is a PNG, and ``batches`` has a batch for each item."""

    read: list[dict[str, Any]] = field(default_factory=list)
    png: bool = False
    batches: list[Batch] = field(default_factory=list)


def options_of(service: Service, kind: str) -> dict[str, Option]:
    """The options of explanations: the task's options that change a prediction, and those of the method. ``kind`` is
    "text" or "image"."""
    kept = {name: each for name, each in service.all_options().items() if name not in SHAPING}
    target = {} if service.target is None else {"target": service.target}
    return {**kept, "steps": STEPS, "baseline": BASELINES[kind], **target}


class ExplanationService:
    """The explanations of one worker. ``budget`` estimates the time of a unit of cost with its gradients."""

    def __init__(self, service: Service, explainer: Explainer) -> None:
        settings = service.settings
        self._service, self._explainer, self._settings = service, explainer, settings
        self.options = options_of(service, "text" if settings.text else "image")
        if clash := sorted({"steps", "baseline", "target"} & set(service.all_options())):
            raise ArchiveError(f"The handler has an option {clash[0]!r}, which explanations have too; rename it.")
        defaults = {name: each.default for name, each in self.options.items() if each.default is not None}
        self._defaults = {**settings.parameters, **defaults}
        self.budget = Budget(service.budget.timeout_s, service.budget.least)
        self._warm_up()

    def read(self, job: Job, request: dict[str, Any], headers: dict[str, Any]) -> None:
        """Reads the request into ``job``. Raises RequestError."""
        service, most = self._service, min(MOST_ITEMS, self._settings.max_items)
        job.explanation = wanted = ExplanationRequest(png=wants_png(headers, self._settings.image is not None))
        payload = read_payload(request, content_type_of(headers), service.shape, most, self.options)
        job.options = read_options(self.options, payload.options, self._defaults)
        placed = service.read_for_explanation(payload)
        given = [item for item, _ in placed]
        items = service.accept(service.changed(given, job.options))
        wanted.read = [{**said, **_changed(a, b)} for (a, said), b in zip(placed, items, strict=True)]
        self._check_size(len(items), wanted.png)
        job.form, job.items = payload.form, items

    def _check_size(self, count: int, png: bool) -> None:
        """Raises RequestError for a PNG of several images, and TooLarge for an answer that is too long."""
        image = self._settings.image
        if png and count > 1:
            raise RequestError(f"A PNG shows one image, and the request has {count}; send one, or ask for JSON.")
        if image and not png and count * image.height * image.width > MOST_VALUES:
            raise TooLarge(
                f"The maps of {count} images of {image.width}x{image.height} are too long for one answer; send fewer "
                "images, or ask for a PNG with the header Accept: image/png."
            )

    def serve(self, jobs: Sequence[Job], started: float) -> None:
        """Explains the items of the jobs for which there is time. The others get an error."""
        with self.budget.batch(started):
            for job in self._admitted(jobs):
                try:
                    self._explain(job, started)
                except Exception as error:
                    job.error = error

    def _admitted(self, jobs: Sequence[Job]) -> list[Job]:
        collated, costs = [], []
        for job in jobs:
            try:
                costs.append(self._collate(job))
                collated.append(job)
            except Exception as error:
                job.error = error
        unit = f"{self._service.unit} times steps"
        for job, refusal in zip(collated, refusals(costs, self.budget, unit, CURE), strict=True):
            job.error = refusal
        return [job for job in collated if job.error is None]

    def _collate(self, job: Job) -> int:
        """Makes a batch of each item. Returns the cost of the job: for each item, one pass for its answer and, for each
        step, one pass of its longest row."""
        assert job.explanation is not None
        job.explanation.batches = [self._service.collate_with_records([item]) for item in job.items]
        rows = [self._service.costs(batch.inputs) for batch in job.explanation.batches]
        return sum(int(each.sum() + job.options["steps"] * each.max()) for each in rows)

    def _explain(self, job: Job, started: float) -> None:
        assert job.explanation is not None
        began, found = time.perf_counter(), []
        for index in range(len(job.items)):
            try:
                found.append(self._explanation(job, index))
            except RequestError as error:
                if len(job.items) > 1:
                    error.args = (f"Item {index}: {error}",)
                raise
        inferred = time.perf_counter()
        self.budget.check_answering()
        job.response = write(found, job.form, job.items[0] if job.explanation.png else None)
        job.headers |= stages(started, began, inferred, time.perf_counter()) | {"x-batch-size": str(len(job.items))}
        counts = Counter[str]()
        for batch in job.explanation.batches:
            counts.update({name: int(count) for name, count in self._service.extra_headers(batch, range(1)).items()})
        job.headers |= {name: str(count) for name, count in counts.items()}
        if job.traced:
            job.headers[BEGAN] = str(int(started * 1e9))

    def _explanation(self, job: Job, index: int) -> dict[str, Any]:
        assert job.explanation is not None
        service, batch, options = self._service, job.explanation.batches[index], job.options
        outputs = service.forward(batch.inputs)
        service.count(batch)
        chosen = service.chosen(batch, outputs, options.get("target"), options)
        attributed = self._attributed(batch, chosen, options["baseline"], options["steps"])
        encoder = getattr(service, "encoder", None)
        return explanation(chosen, attributed, options, batch, encoder) | job.explanation.read[index]

    def _attributed(self, batch: Batch, chosen: Chosen, baseline: str, steps: int) -> Attributions:
        path = (self._text_path if self._settings.text else self._image_path)(batch, chosen.row, baseline, steps)
        cost = int(self._service.costs(path.inputs).sum())
        began = time.perf_counter()
        found = self._explainer.attributions(path, chosen.target, lambda points: self.budget.check(points * cost))
        self.budget.learn(steps * cost, time.perf_counter() - began)
        return found

    def _text_path(self, batch: Batch, row: int, baseline: str, steps: int) -> Path:
        """The baseline replaces all tokens except special tokens and fill-mask's mask."""
        length = int(batch.inputs[1][row].sum())
        inputs = tuple(each[row : row + 1, :length] if each.ndim == 2 else each[row : row + 1] for each in batch.inputs)
        own = np.array(batch.context.encodings[row].special_tokens_mask, dtype=bool)
        own |= inputs[0][0] == getattr(self._service, "mask_id", None)
        filler = self._settings.text_input.pad_id if baseline == "pad" else -1
        together = max(1, TOKENS[self._settings.device] // length)
        return Path(inputs, np.where(own, inputs[0], filler), steps, together)

    def _image_path(self, batch: Batch, row: int, baseline: str, steps: int) -> Path:
        image = self._settings.image_input
        pixels = batch.inputs[0][row : row + 1]
        colour = {"black": (0, 0, 0), "white": (255, 255, 255), "mean": [255 * each for each in image.mean]}[baseline]
        together = max(1, PIXELS[self._settings.device] // (image.height * image.width))
        return Path((pixels,), np.zeros(pixels.shape, np.float32) + np.array(colour, np.float32), steps, together)

    def _warm_up(self) -> None:
        """Explains samples. The first request is then as fast as the next, and the budget can estimate its time."""
        output = self._settings.outputs[0]
        first = Chosen(None, "", Target(((output.name, (0,) * (len(output.dims) - 1)),)), 0)
        for sample in self._service.samples():
            if len(sample) == 1:
                batch = self._service.collate_with_records(sample)
                self._attributed(batch, first, self.options["baseline"].default, WARM_UP_STEPS)


def _changed(read: Any, given: Any) -> dict[str, Any]:
    """The key "text" if a user's handler changed the length of the text. The offsets then refer to the changed text."""
    moved = isinstance(read, str) and isinstance(given, str) and len(read) != len(given)
    return {"text": given} if moved else {}
