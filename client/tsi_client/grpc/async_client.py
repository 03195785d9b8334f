"""The gRPC client whose calls are awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import anyio.lowlevel
import grpc
import grpc.aio

from tsi_client.course import Awaiting
from tsi_client.exchange import Send
from tsi_client.grpc.base import GrpcBase
from tsi_client.grpc.messages import about, inference, read_metadata, read_readiness, read_tensors, readiness
from tsi_client.reply import Reply

if TYPE_CHECKING:
    import numpy as np


class AsyncGrpcClient(Awaiting, GrpcBase):
    """``GrpcClient`` for asyncio: the same settings, calls and errors, and every call is awaited. It belongs to the
    event loop of its first call."""

    _open: Any = None  # a channel belongs to the loop that runs when it is made

    async def infer(
        self, model: str, inputs: Mapping[str, Any], *, outputs: Sequence[str] | None = None,
        parameters: Mapping[str, Any] | None = None, version: str | None = None, timeout: float | None = None,
    ) -> dict[str, np.ndarray[Any, Any]]:  # fmt: skip
        """The model's outputs by name, as arrays: see ``tsi_client.Client.infer``."""
        return read_tensors(await self._run(inference(model, inputs, outputs, version, parameters, timeout)))

    async def metadata(self, model: str, *, version: str | None = None, timeout: float | None = None) -> dict[str, Any]:
        """Names, datatypes and shapes of a model's tensors."""
        return read_metadata(await self._run(about(model, version, timeout)))

    async def ready(self, model: str | None = None, *, timeout: float | None = None) -> bool:
        """Whether the model has a worker that answers; without ``model``, whether all models have."""
        return read_readiness(await self._run(readiness(model, timeout)))

    async def close(self) -> None:
        """Closes the connections."""
        if self._open is not None:
            await self._open.close()

    async def _send(self, step: Send) -> Reply:
        self._open = self._open or self._channel(grpc.aio)
        try:
            content: bytes = await self._open.unary_unary(step.call.path)(step.call.content, **self._settings(step))
        except grpc.RpcError as error:
            return self._outcome(error, step.deadline)
        except asyncio.CancelledError:
            # At the deadline gRPC raises its own CancelledError, which anyio does not accept as its cancellation.
            await anyio.lowlevel.checkpoint_if_cancelled()
            raise
        return Reply(200, {}, content)
