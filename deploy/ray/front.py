"""The deployment that clients reach: the URLs of TorchServe's inference API in front of the models' deployments.

Checks a request at its head, before its body is read: method, token, size, coding. Knows nothing of texts or images.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import traceback
from dataclasses import dataclass
from typing import Any

from ray import serve
from ray.exceptions import RayActorError, RayError
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    ReplicaUnavailableError,
    RequestCancelledError,
)
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from deploy.ray import content, refusal
from deploy.ray.archive import Answer, Asked
from deploy.ray.models import Models
from deploy.ray.refusal import Refusal
from deploy.ray.tokens import Tokens
from deploy.ray.watch import Wanted, Watch
from deploy.ray.watch.record import Record, kind_of

logger = logging.getLogger("ray.serve")

SILENCE_S = 30  # longest pause within a body
GONE = (RayActorError, DeploymentUnavailableError, ReplicaUnavailableError)
WANTED, JSON_LENGTH = "open-inference", "inference-header-content-length"  # handlers/open_inference/__init__.py
JSON = "application/json"
PREDICT = [re.compile(each) for each in (
    r"/predictions/(?P<model>[^/]+)(?:/(?P<version>[^/]+))?", r"/v1/models/(?P<model>[^/]+):predict",
    r"/models/(?P<model>[^/]+)/invoke", r"/(?P<model>[^/]+)/predict",
    r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?(?P<infer>/infer)?",
)]  # fmt: skip
READY = re.compile(r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?/ready")
READING, PREDICTING, INFERRING = "GET, OPTIONS", "POST, PUT, OPTIONS", "POST, OPTIONS"
PROBES = ("/ping", "/v2/health/ready")
NO_STORE = {"pragma": "no-cache", "cache-control": "no-cache; no-store, must-revalidate, private",
            "expires": "Thu, 01 Jan 1970 00:00:00 UTC"}  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """``largest``: bytes of one body. ``held``: bytes of all requests that this replica holds."""

    largest: int = 16 << 20
    held: int = 256 << 20


@serve.deployment(name="Front", max_ongoing_requests=1000, max_surge_percent=100)
class Front:
    """A replica, which holds no model."""

    def __init__(
        self, tokens: dict[str, Any], limits: dict[str, int], open_ping: bool = False,
        watch: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self._tokens, self._limits, self._open_ping = Tokens(**tokens), Limits(**limits), open_ping
        self._models, self._held, self._watch = Models(), 0, Watch(Wanted(**watch or {}))
        self._watch.shows(self._models.look, self._tokens.expires)

    async def __call__(self, request: Request) -> Response:
        """Answers every request. A request with an error gets a 4xx with a sentence."""
        record = self._watch.begins(request)
        try:
            answer, kind = await self._answer_or_refusal(request, record)
        except ClientDisconnect:
            return Response(status_code=400)  # the client has hung up and reads no answer
        except asyncio.CancelledError:  # Ray cancels the task when the client hangs up
            self._watch.breaks(record)
            raise
        self._watch.ends(record, answer, kind)
        return Response(answer.body, answer.status, {**answer.headers, **NO_STORE})

    async def _answer_or_refusal(self, request: Request, record: Record) -> tuple[Answer, str]:
        """(the answer, the kind of error where a refusal has one)."""
        path = request.url.path
        try:
            return await self._answered(request, path, record), ""
        except Refusal as refused:
            said = refused
        except ClientDisconnect:
            raise
        except Exception as error:  # a bug of the front; the message is not logged, since it may quote a request
            where = "".join(traceback.format_tb(error.__traceback__))
            logger.error("The front failed with %s:\n%s", type(error).__name__, where)
            said = refusal.failed()
        answer = Answer(said.status, {"content-type": JSON, **said.headers}, said.body(_is_v2(path)))
        return answer, said.cause or kind_of(said.status, b"")

    async def _answered(self, request: Request, path: str, record: Record) -> Answer:
        open_probe = self._open_ping and request.method == "GET" and path in PROBES
        if not open_probe and not self._tokens.admit(request.headers.get("authorization")):
            raise refusal.unauthorized()
        if path in ("/ping", "/v2", "/v2/health/live", "/v2/health/ready") or READY.fullmatch(path):
            _only(request, "GET, HEAD" if path == "/ping" else READING)
            return await self._said(path)
        for pattern in PREDICT:
            if found := pattern.fullmatch(path):
                return await self._predicted(request, path, record, **found.groupdict())
        raise refusal.not_found("Requested resource is not found, please refer to API document.")

    async def _said(self, path: str) -> Answer:
        """Answers questions about the server and its models."""
        if path == "/v2":
            return _json(200, {"name": "ray-serve", "version": "2", "extensions": ["binary_tensor_data"]})
        if path == "/v2/health/live":
            return _json(200, {"live": True})
        if found := READY.fullmatch(path):
            name, version = found["model"], found["version"]
            ready = await self._models.ready(name, version)
            return _json(200 if ready else 400, {"name": name, "ready": ready})
        if path == "/ping":
            health = await self._models.health()
            return _json(500 if health == "Unhealthy" else 200, {"status": health})
        ready = await self._models.health() == "Healthy"
        return _json(200 if ready else 400, {"ready": ready})

    async def _predicted(
        self, request: Request, path: str, record: Record, model: str, version: str | None = None,
        infer: str | None = None,
    ) -> Answer:  # fmt: skip
        metadata = _is_v2(path) and infer is None
        one = path.startswith(("/v1", "/v2"))
        _only(request, READING if metadata else INFERRING if one else PREDICTING)
        most = self._limits.largest
        packed = content.check_coding(request.headers.getlist("content-encoding"))
        handle = await self._models.handle(model)
        body = b"" if metadata else await self._body(request, most)
        record.received(len(body))
        try:
            self._held += len(body)
            asked = _asked(request, content.unpacked(body, most) if packed and body else body, version)
            if _is_v2(path):
                asked.headers[WANTED] = "metadata" if metadata else "infer"
            record.hands(self._models.labels.get(model))
            answer = await _answer(handle, model, asked)
        finally:
            self._held -= len(body)
        if answer.status == 404 and not answer.body:
            record.labels = None
            raise refusal.not_found(f"Model version: {version} does not exist for model: {model}",
                                    "ModelVersionNotFoundException")  # fmt: skip
        self._models.labels[model] = answer.labels
        self._watch.served(record, answer)
        return _mended(answer) if _is_v2(path) else answer

    async def _body(self, request: Request, most: int) -> bytes:
        """The body, if there is room for it. Raises Refusal."""
        too_large = refusal.too_large(f"The body has more than {most} bytes (max_request_size).")
        announced = request.headers.get("content-length", "0")
        if int(announced) > most:
            raise too_large
        if self._held + int(announced) > self._limits.held:
            raise refusal.busy("The memory for requests is full; retry after 1 s.", "memory_full")
        pieces: list[bytes] = []
        size, stream = 0, request.stream()
        while True:
            try:
                piece = await asyncio.wait_for(anext(stream, None), SILENCE_S)
            except asyncio.TimeoutError:
                raise refusal.slow() from None
            if piece is None:
                return b"".join(pieces)
            pieces.append(piece)
            size += len(piece)
            if size > most:
                raise too_large

    def __del__(self) -> None:
        """Ray calls this when the replica ends."""
        if watch := getattr(self, "_watch", None):
            watch.close()


async def _answer(handle: Any, model: str, asked: Asked) -> Answer:
    """The answer of one of the model's replicas. Raises Refusal."""
    try:
        answer: Answer = await handle.ask.remote(asked)
        return answer
    except BackPressureError as full:
        sentence = f"The queue of {model} is full ({full.args[1]} requests); retry after 1 s."
        raise refusal.busy(sentence, "queue_full") from None
    except GONE:
        sentence = f"The replica of {model} that had the request has ended; retry after 1 s."
        raise refusal.busy(sentence, "worker_died") from None
    except RequestCancelledError:  # the client has hung up
        raise asyncio.CancelledError from None
    except RayError as error:
        logger.error("A batch of %s failed with %s", model, type(getattr(error, "cause", error)).__name__)
        raise refusal.failed() from None


def _only(request: Request, allowed: str) -> None:
    if request.method not in allowed.split(", "):
        raise refusal.method_not_allowed(request.method, allowed)


def _is_v2(path: str) -> bool:
    return path == "/v2" or path.startswith("/v2/")


def _asked(request: Request, body: bytes, version: str | None) -> Asked:
    """The request as a handler reads it."""
    fields, content_type = content.read(body, request.headers.get("content-type", ""))
    headers: dict[str, Any] = {"body": {"content-type": content_type}} if "body" in fields else {}
    if length := request.headers.get(JSON_LENGTH):
        headers[JSON_LENGTH] = length
    query = content.distinct((name, value.encode()) for name, value in request.query_params.multi_items())
    return Asked({**query, **fields}, headers, version)


def _mended(answer: Answer) -> Answer:
    """An error of a handler in the form of the Open Inference Protocol."""
    if answer.status >= 400:
        answer.body = json.dumps({"error": json.loads(answer.body)["message"]}).encode()
    return answer


def _json(status: int, said: dict[str, Any]) -> Answer:
    return Answer(status, {"content-type": JSON}, json.dumps(said).encode())
