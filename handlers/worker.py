"""A faster replacement for parts of TorchServe's worker. An archive installs it into the worker that loads it.

TorchServe 0.12's worker parses requests and builds answers field by field in Python, and logs a line for each batch.
Here handlers/worker_protocol.py reads and writes whole messages, and the duration of a batch is logged once a second. A
worker of another version is left unchanged, with a warning in its log.
"""

from __future__ import annotations

import logging
import socket
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from handlers.errors import traceback_of
from handlers.figures import HEADER, Figures
from handlers.worker_protocol import Reader, Received, answers, failure

logger = logging.getLogger(__name__)

WORKER = "model_service_worker.py"  # the file that TorchServe runs as a worker
KNOWN = "0.12.0"
METRIC, SECONDS = "PredictionTime", 1.0


def install(program: ModuleType, figures: Figures) -> bool:
    """Replaces the reader and the writer of ``program``, from its next message on. The new writer sends ``figures``.

    The front end waits for the answer to the running load before it sends the next message. So TorchServe's reader has
    no unread bytes. Returns False, and changes nothing, if ``program`` is not TorchServe's worker of version KNOWN.
    """
    if Path(getattr(program, "__file__", None) or "").name != WORKER:
        return False
    import ts
    from ts.service import Service

    if ts.__version__ != KNOWN or not callable(getattr(program, "retrieve_msg", None)):
        logger.warning(
            "This worker is of TorchServe %s, not %s: it keeps its own, slower reader.", ts.__version__, KNOWN
        )
        return False
    program.retrieve_msg = _retrieve_msg()  # type: ignore[attr-defined]  # a module's attribute
    Service.predict = _predict(figures)
    return True


def _retrieve_msg() -> Any:
    readers: dict[int, Reader] = {}  # by id(connection); a worker has one connection at a time

    def retrieve_msg(connection: socket.socket) -> tuple[bytes, list[Received]]:
        reader = readers.get(id(connection))
        if reader is None or reader.connection is not connection:
            readers.clear()
            reader = readers[id(connection)] = Reader(connection)
        return reader.message()

    return retrieve_msg


def _predict(figures: Figures) -> Any:
    from ts.context import RequestProcessor

    written = float("-inf")

    def predict(service: Any, batch: list[Received]) -> bytes:
        """Replaces ts.service.Service.predict and fills the context as it does."""
        nonlocal written
        began, context = time.monotonic(), service.context
        identities, processors = [each.identity for each in batch], [RequestProcessor(each.headers) for each in batch]
        context.request_ids = context.metrics.request_ids = {row: each.decode() for row, each in enumerate(identities)}
        context.request_processor, context.cl_socket = processors, service.cl_socket
        try:
            bodies = service._entry_point([each.inputs for each in batch], context)
            if batch[0].headers.get("describe") != "True":  # a description is no prediction
                processors[0].add_response_property(HEADER, figures.taken(len(batch)))
            message = answers(identities, processors, bodies)
        except Exception as error:  # the handler itself answers an error in one request
            return _failed(identities, error)
        ended = time.monotonic()
        if ended - written >= SECONDS:  # the metric is a gauge, of which the front end keeps only the last value
            written = ended
            context.metrics.add_time(METRIC, round((ended - began) * 1000, 2))
        return message

    return predict


def _failed(identities: list[bytes], error: Exception) -> bytes:
    logger.error("The handler failed with %s:\n%s", type(error).__name__, traceback_of(error))
    if isinstance(error, MemoryError) or "CUDA" in str(error):
        return failure(identities, 507, "Out of resources")
    return failure(identities, 503, "Prediction failed")
