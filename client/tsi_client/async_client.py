"""The client whose calls are awaited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import httpx2

from tsi_client.base import Base, as_reply, is_ready, readiness
from tsi_client.bodies import prediction
from tsi_client.course import Awaiting
from tsi_client.exchange import Call, Send
from tsi_client.reply import Reply
from tsi_client.tensors import inference, model_path, read_tensors

if TYPE_CHECKING:
    import numpy as np


class AsyncClient(Awaiting, Base):
    """``Client`` for asyncio and trio: the same settings, calls and errors, and every call is awaited."""

    def _open(self, **options: Any) -> None:
        self._http = httpx2.AsyncClient(**options)

    async def predict(
        self, model: str, data: Any, *, parameters: Mapping[str, Any] | None = None, version: str | None = None,
        timeout: float | None = None,
    ) -> Any:  # fmt: skip
        """The model's answer, as the value of its JSON: see ``Client.predict``."""
        return (await self._run(prediction(model, data, version, parameters, timeout))).value()

    async def infer(
        self, model: str, inputs: Mapping[str, Any], *, outputs: Sequence[str] | None = None,
        parameters: Mapping[str, Any] | None = None, version: str | None = None, timeout: float | None = None,
    ) -> dict[str, np.ndarray[Any, Any]]:  # fmt: skip
        """The model's outputs by name, as arrays: see ``Client.infer``."""
        return read_tensors(await self._run(inference(model, inputs, outputs, version, parameters, timeout)))

    async def metadata(self, model: str, *, version: str | None = None, timeout: float | None = None) -> dict[str, Any]:
        """Names, datatypes and shapes of a model's tensors."""
        found: dict[str, Any] = (await self._run(Call("GET", model_path(model, version), timeout=timeout))).value()
        return found

    async def ready(self, model: str | None = None, *, timeout: float | None = None) -> bool:
        """Whether the model has a worker that answers; without ``model``, whether all models have."""
        return is_ready(await self._run(readiness(model, timeout)))

    async def request(
        self, method: str, path: str, *, content: bytes = b"", headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None, timeout: float | None = None,
    ) -> Reply:  # fmt: skip
        """Any request; returns the last answer, whatever its status: see ``Client.request``."""
        return await self._run(Call(method, path, content, headers or {}, params, timeout))

    async def token(self) -> str:
        """The token that is sent now; empty without one."""
        tokens = self._tokens
        return await anyio.to_thread.run_sync(tokens.get, self.timeout) if tokens else ""

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def _send(self, step: Send) -> Reply:
        try:
            return as_reply(await self._http.send(self._request(self._http, step)))
        except httpx2.HTTPError as error:
            raise self._failure(error, step.deadline) from error
