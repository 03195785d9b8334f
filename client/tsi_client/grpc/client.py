"""The gRPC client that waits for its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import grpc

from tsi_client.course import Waiting
from tsi_client.exchange import Send
from tsi_client.grpc.base import GrpcBase
from tsi_client.grpc.messages import about, inference, read_metadata, read_readiness, read_tensors, readiness
from tsi_client.reply import Reply

if TYPE_CHECKING:
    import numpy as np


class GrpcClient(Waiting, GrpcBase):
    """Calls the server's gRPC port at ``url``, as in http://127.0.0.1:7070. Threads may share it.

    With https:// it speaks TLS, and trusts the authorities in the PEM file ``authorities``, or gRPC's own. ``token``,
    ``timeout``, ``retries`` and the errors are those of ``tsi_client.Client``. With ``trust_env``, proxies come from
    the environment.
    """

    def _begin(self) -> None:
        self._open = self._channel(grpc)

    def infer(
        self, model: str, inputs: Mapping[str, Any], *, outputs: Sequence[str] | None = None,
        parameters: Mapping[str, Any] | None = None, version: str | None = None, timeout: float | None = None,
    ) -> dict[str, np.ndarray[Any, Any]]:  # fmt: skip
        """The model's outputs by name, as arrays: see ``tsi_client.Client.infer``."""
        return read_tensors(self._run(inference(model, inputs, outputs, version, parameters, timeout)))

    def metadata(self, model: str, *, version: str | None = None, timeout: float | None = None) -> dict[str, Any]:
        """Names, datatypes and shapes of a model's tensors."""
        return read_metadata(self._run(about(model, version, timeout)))

    def ready(self, model: str | None = None, *, timeout: float | None = None) -> bool:
        """Whether the model has a worker that answers; without ``model``, whether all models have."""
        return read_readiness(self._run(readiness(model, timeout)))

    def close(self) -> None:
        """Closes the connections."""
        self._open.close()

    def _send(self, step: Send) -> Reply:
        try:
            content: bytes = self._open.unary_unary(step.call.path)(step.call.content, **self._settings(step))
        except grpc.RpcError as error:
            return self._outcome(error, step.deadline)
        return Reply(200, {}, content)
