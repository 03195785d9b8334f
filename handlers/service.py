"""Serves a batch in a worker: reads each request, runs the model once for all of them, answers each request.

Knows TorchServe's handler contract (``initialize``, ``handle``, the context) and nothing of texts or images. Each task
has a subclass of ``Service`` in its own entry file. The log never has a user's text or image.
"""

from __future__ import annotations

import gc
import logging
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import orjson

from handlers import open_inference, worker
from handlers.admission import refusals
from handlers.batch import Batch, Job
from handlers.description import describe
from handlers.errors import RequestError, traceback_of
from handlers.explanations import Explainer, no_explanations_message
from handlers.explanations.serving import ExplanationService
from handlers.figures import BEGAN, TRACED, stages
from handlers.hooks import as_json
from handlers.lanes import lanes
from handlers.open_inference.answer import Response, write_answer
from handlers.open_inference.task import as_texts
from handlers.options import read_options
from handlers.requests import Form, Payload, content_type_of, read_payload
from handlers.runtimes import Runtime, load_runtime, threads
from handlers.settings import Settings
from handlers.task import Task

logger = logging.getLogger(__name__)

# TorchScript's profiling executor records the first call, specialises on the second and runs on the third.
WARM_UP_CALLS = 3
REQUEST_ERRORS = (Exception, SystemExit)  # a hook may raise SystemExit, which would end the worker and the whole batch


class Service(Task):
    """Base of the entry classes: serves a task by TorchServe's handler contract."""

    explanations: ExplanationService | None = None  # None for an archive without explanations

    def initialize(self, context: Any) -> None:
        """Loads the archive and warms it up. TorchServe reports the worker as ready only after this returns.

        Raises ArchiveError if the archive cannot be served on this machine.
        """
        self.directory = Path(context.system_properties["model_dir"])
        self.gpu_id: int | None = context.system_properties.get("gpu_id")
        self.max_batch = int(context.system_properties.get("batch_size") or 1)
        config = context.model_yaml_config or {}
        settings = Settings.read(config.get("archive"), f"{self.directory}/model-config.yaml")
        self.options = self.all_options()  # type: ignore[misc]  # shadows the class attribute
        defaults = {name: each.default for name, each in self.options.items() if each.default is not None}
        self.settings = replace(settings, parameters={**defaults, **settings.parameters})
        self.budget.timeout_s = float(config.get("responseTimeout") or math.inf)
        worker.install(sys.modules["__main__"], self.figures)
        self.prepare()
        self.load()
        self.runtime: Runtime = load_runtime(self.directory, self.settings, self.gpu_id)
        self.lanes = lanes(self.runtime, threads(self.settings))
        for sample in self.samples():
            for _ in range(WARM_UP_CALLS):
                self.forward(self.collate(sample).inputs)
        if isinstance(self.runtime, Explainer):
            self.explanations = ExplanationService(self, self.runtime)
        # Python would search all of torch's objects for garbage now and then, 40 to 80 ms each time.
        gc.collect()
        gc.freeze()

    def handle(self, requests: list[dict[str, Any]], context: Any) -> list[bytes]:
        """Answers a batch of requests. An error in one request does not affect the others."""
        started = time.perf_counter()
        with self.budget.batch(started):
            jobs = [self._read(request, context, row) for row, request in enumerate(requests)]
            for own in (False, True):
                if readable := [job for job in jobs if job.items and job.own is own and not job.explanation]:
                    self._serve(readable, started)
            if self.explanations:
                self.explanations.serve([job for job in jobs if job.items and job.explanation], started)
        return [self._respond(job, context, row) for row, job in enumerate(jobs)]

    def items(self, payload: Payload, options: Mapping[str, Any]) -> list[Any]:
        """The payload's items, for ``collate``. Raises RequestError and the errors of a user's ``preprocess``."""
        return self.accept(self.changed(self.read(payload), options))

    def outputs(self, items: list[Any]) -> list[dict[str, np.ndarray]]:
        """The model's raw outputs for each decoded item, by name. The parity check compares them.

        An output has the shape [rows, ...]. An output with a value per token is without padding: the rows are
        concatenated to [tokens of all rows, ...].
        """
        batch = self.collate(items)
        outputs, per_token = self.forward(batch.inputs), {each.name for each in self.settings.outputs if each.per_token}
        found = []
        for index in range(len(items)):
            rows = batch.rows_of(index)
            found.append({
                name: np.concatenate([self.unpadded(batch, row, name, outputs[name]) for row in rows])
                if name in per_token else outputs[name][rows.start : rows.stop].copy()
                for name in (each.name for each in self.settings.outputs)
            })  # fmt: skip
        return found

    def _read(self, request: dict[str, Any], context: Any, row: int) -> Job:
        headers = context.get_all_request_header(row)
        job, before = Job(traced=TRACED in headers), self.figures.counted()
        try:
            self.budget.check_reading()
            if wanted := headers.get(open_inference.WANTED):
                self._read_tensors(job, request, headers, wanted, context)
            elif headers.get("describe") == "True":
                job.response = Response(orjson.dumps(describe(self.directory, self.settings)))
            elif headers.get("explain") == "True":
                if self.explanations is None:
                    raise RequestError(no_explanations_message(self.settings.model, context.model_name))
                self.explanations.read(job, request, headers)
            else:
                payload = read_payload(
                    request, content_type_of(headers), self.shape, self.settings.max_items, self.options
                )
                # Read-only: requests without options share one dict of defaults.
                given = read_options(self.options, payload.options, self.settings.parameters)
                job.options = MappingProxyType(given)
                job.form, job.items = payload.form, self.items(payload, job.options)
        except REQUEST_ERRORS as error:
            job.error, job.items = error, []
        job.headers |= self.figures.since(before)
        return job

    def _read_tensors(
        self, job: Job, request: dict[str, Any], headers: dict[str, Any], wanted: str, context: Any
    ) -> None:
        self.model = context.model_name, str(context.manifest["model"]["modelVersion"])
        if wanted != open_inference.INFER:
            job.response = Response(orjson.dumps(self.metadata(*self.model)))
            return
        job.form, (job.inference, job.own) = Form.TENSORS, self.read_inference(request.get("body"), headers)
        tensors = job.inference.tensors
        job.options = MappingProxyType(read_options(self.options, job.inference.options, self.settings.parameters))
        if job.own:
            job.items = self.read_own(tensors)
        else:
            job.items = self.items(Payload(job.form, None, self.items_of(tensors)), job.options)

    def _serve(self, jobs: list[Job], started: float) -> None:
        """Runs the jobs as one batch. If the batch fails as a whole, each job runs alone, so that only the faulty one
        fails."""
        try:
            self._serve_together(jobs, started)
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].error = error
                return
            self.budget.extend()
            for job in jobs:
                self._serve([job], time.perf_counter())

    def _serve_together(self, jobs: list[Job], started: float) -> None:
        own, items = jobs[0].own, [item for job in jobs for item in job.items]
        batch = self.collate_own(items) if own else self.collate(items)
        if len(admitted := self._admitted(jobs, batch)) < len(jobs):
            if admitted:
                self._serve(admitted, started)
            return
        collated = time.perf_counter()
        outputs = self.forward(batch.inputs)
        inferred = time.perf_counter()
        self.count(batch)
        processed = outputs if own else self.process_outputs(batch, outputs, [job.options for job in jobs])
        first = 0
        for job in jobs:
            rows = range(first, first + len(job.items))
            first = rows.stop
            self._answer(job, batch, rows, processed)
        timing = stages(started, collated, inferred, time.perf_counter()) | {"x-batch-size": str(len(jobs))}
        for job in jobs:
            job.headers |= timing
            if job.traced:
                job.headers[BEGAN] = str(int(started * 1e9))

    def _admitted(self, jobs: list[Job], batch: Batch) -> list[Job]:
        """The jobs for which there is time. The others get an error."""
        per_row = self.costs(batch.inputs)
        if self.budget.suffices(int(per_row.sum())):
            return jobs
        ends = np.cumsum([len(job.items) for job in jobs]).tolist()
        starts = [end - len(job.items) for job, end in zip(jobs, ends, strict=True)]
        rows = [slice(batch.rows_of(a).start, batch.rows_of(b - 1).stop) for a, b in zip(starts, ends, strict=True)]
        errors = refusals([int(per_row[each].sum()) for each in rows], self.budget, self.unit)
        for job, error in zip(jobs, errors, strict=True):
            job.error = error
        return [job for job in jobs if job.error is None]

    def _answer(self, job: Job, batch: Batch, items: range, outputs: Any) -> None:
        try:
            self.budget.check_answering()
            job.response = self._written(job, batch, items, outputs)
            job.headers |= self.extra_headers(batch, items)
        except REQUEST_ERRORS as error:
            job.error = error

    def _written(self, job: Job, batch: Batch, items: range, outputs: Any) -> Response:
        if job.inference and job.own:
            rows = {name: values[items.start : items.stop] for name, values in outputs.items()}
            return write_answer(self.model, job.inference, self.own_outputs(job.items, job.inference, rows))
        answers = [self._answer_to(job, batch, index, items, outputs) for index in items]
        if job.inference:
            tensors = as_texts(map(as_json, answers)) if self.changes_answers else self.tensors_of(answers)
            return write_answer(self.model, job.inference, tensors)
        return Response(as_json(self._shaped(job.form, answers)))

    def _answer_to(self, job: Job, batch: Batch, index: int, items: range, outputs: Any) -> Any:
        try:
            return self.answered(self.answer(batch, index, outputs, job.options), job.options)
        except RequestError as error:
            if len(items) > 1:
                error.args = (f"Item {index - items.start}: {error}",)
            raise

    def _shaped(self, form: Form, answers: list[Any]) -> Any:
        """The answers in the form of the request: one answer, a list, or KServe v1's predictions."""
        if form is Form.INSTANCES:
            return {"predictions": answers}
        if form is Form.LIST:
            return {self.list_answer_key: answers}
        return answers[0] if self.answer_key is None else {self.answer_key: answers[0]}

    def _respond(self, job: Job, context: Any, row: int) -> bytes:
        written = job.response if job.error is None else Response()
        context.set_response_content_type(row, written.content_type)
        context.set_response_header(row, "x-variant", self.settings.variant)
        for name, value in (job.headers | written.headers).items():
            context.set_response_header(row, name, value)
        if job.error is None:
            return written.body
        if isinstance(job.error, RequestError):
            status, message = job.error.status, str(job.error)
            if job.error.retry_after_s:
                context.set_response_header(row, "Retry-After", str(job.error.retry_after_s))
        else:
            status, message = HTTPStatus.INTERNAL_SERVER_ERROR, "The model failed on this request; see the log."
            # The dry run reads the error from the log record; the log's format does not print it.
            kind, extra = type(job.error).__name__, {"error": job.error}
            logger.error("A request failed with %s:\n%s", kind, traceback_of(job.error), extra=extra)
        context.set_response_status(int(status), status.phrase, row)
        return orjson.dumps({"code": int(status), "type": type(job.error).__name__, "message": message})
