"""The connection of a Locust user to TorchServe's own gRPC API (unary Predictions).

Knows the stubs that serving.grpc_stubs generates. A refusal gets its HTTP status, so rows and reports count the same
kinds of errors for both protocols.
"""

from __future__ import annotations

import json
import time
from typing import Any

import grpc
from grpc.experimental import gevent
from locust.exception import CatchResponseError

from loadtest.load.payloads import Payload
from loadtest.load.target import Target
from loadtest.load.users import NETWORK_TIMEOUT_S, Reply
from serving.grpc_stubs import stubs

gevent.init_gevent()  # else a call would hold up all users of this thread

Code = grpc.StatusCode
STATUSES = {
    Code.INVALID_ARGUMENT: 400, Code.UNAUTHENTICATED: 401, Code.NOT_FOUND: 404, Code.RESOURCE_EXHAUSTED: 413,
    Code.UNAVAILABLE: 503,
}  # fmt: skip
# Of a 503: the front end has no place, a worker has no time or memory, or TorchServe says it. Else gRPC's own library
# says that there is no connection.
NO_PLACE, SERVER_SAYS = "; retry after", ("retry", "try again", "Exception")
OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # a connection for each user, as over HTTP
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", -1),
)


class GrpcSender:
    """A separate connection. TorchServe's message has no fields for the headers that an answer has over HTTP."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._messages, services = stubs()
        self._channel = grpc.insecure_channel(target.grpc, OPTIONS)
        self._api = services.InferenceAPIsServiceStub(self._channel)

    def send(self, payload: Payload) -> tuple[Reply, BaseException | None]:
        """One call."""
        access = (("authorization", f"Bearer {self._target.token.get()}"),)
        request = self._messages.PredictionsRequest(model_name=self._target.archive, input={"data": payload.body})
        try:
            answer = self._api.Predictions(request, metadata=access, timeout=NETWORK_TIMEOUT_S)
        except grpc.RpcError as error:
            return refused(error)
        return Reply(200, None, answer.prediction), None

    def times(self, start: float) -> tuple[float, float]:
        """The times that this thread saw, since gRPC's own threads read the socket."""
        return start, time.time()


def refused(error: Any) -> tuple[Reply, BaseException]:
    """The reply for an error of gRPC: status 0 if no server answered."""
    code, said = error.code(), error.details() or ""
    if code is Code.DEADLINE_EXCEEDED:
        return Reply(), TimeoutError("timed out")
    if code is Code.UNAVAILABLE and not any(sign in said for sign in SERVER_SAYS):
        return Reply(), ConnectionError(said)
    status = STATUSES.get(code, 500)
    kind = {401: "InvalidKeyException", 503: "ServiceUnavailableException" if NO_PLACE in said else ""}.get(status, "")
    return Reply(status, None, json.dumps({"type": kind}).encode()), CatchResponseError(f"status {status}")
