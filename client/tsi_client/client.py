"""The client that waits for its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import httpx2

from tsi_client.base import Base, as_reply, is_ready, readiness
from tsi_client.bodies import prediction
from tsi_client.course import Waiting
from tsi_client.deadline import limit
from tsi_client.exchange import Call, Send
from tsi_client.reply import Reply
from tsi_client.tensors import inference, model_path, read_tensors

if TYPE_CHECKING:
    import numpy as np


class Client(Waiting, Base):
    """Calls the server at ``url``. Threads may share it.

    ``token`` is the token itself, the path of a file that holds one, a ``KeyFile``, or None. ``timeout`` is the limit
    in seconds for a whole call. A 503 and a failed connection are tried again up to ``retries`` times within that time.
    ``connections`` is the most connections to the server at once. ``verify`` is an ``ssl.SSLContext``, such as
    ``pinned(...)``; False trusts every server. With ``trust_env``, proxies and authorities come from the environment.
    Raises ValueError if ``url`` is no URL, TokenError for an invalid token.

    Every call may raise an ``Error``: ``ConnectionFailed``, ``Timeout``, ``TokenError``, or a ``StatusError`` with the
    server's message.
    """

    def _open(self, **options: Any) -> None:
        self._http = limit(httpx2.Client(**options))

    def predict(
        self, model: str, data: Any, *, parameters: Mapping[str, Any] | None = None, version: str | None = None,
        timeout: float | None = None,
    ) -> Any:  # fmt: skip
        """The model's answer, as the value of its JSON.

        ``data`` is a text, an image file (a path, or its bytes), a dict that is sent as JSON, or a list of one of these
        for several items. ``parameters`` are the task's options, as in ``{"top_k": 3}``. Raises TypeError for other
        data.
        """
        return self._run(prediction(model, data, version, parameters, timeout)).value()

    def infer(
        self, model: str, inputs: Mapping[str, Any], *, outputs: Sequence[str] | None = None,
        parameters: Mapping[str, Any] | None = None, version: str | None = None, timeout: float | None = None,
    ) -> dict[str, np.ndarray[Any, Any]]:  # fmt: skip
        """The model's outputs by name, over the Open Inference Protocol with binary tensors. Needs numpy.

        ``inputs`` are arrays, lists of texts, or lists of image files (paths, or their bytes), by name; the first
        dimension is the number of items. ``outputs`` names the wanted outputs; None means all. Outputs of texts are
        arrays of str. Raises TypeError for an input that is no tensor.
        """
        return read_tensors(self._run(inference(model, inputs, outputs, version, parameters, timeout)))

    def metadata(self, model: str, *, version: str | None = None, timeout: float | None = None) -> dict[str, Any]:
        """Names, datatypes and shapes of a model's tensors."""
        found: dict[str, Any] = self._run(Call("GET", model_path(model, version), timeout=timeout)).value()
        return found

    def ready(self, model: str | None = None, *, timeout: float | None = None) -> bool:
        """Whether the model has a worker that answers; without ``model``, whether all models have."""
        return is_ready(self._run(readiness(model, timeout)))

    def request(
        self, method: str, path: str, *, content: bytes = b"", headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None, timeout: float | None = None,
    ) -> Reply:  # fmt: skip
        """Any request, with the token, the retries and the time limit of the other calls. Returns the last answer,
        whatever its status."""
        return self._run(Call(method, path, content, headers or {}, params, timeout))

    def token(self) -> str:
        """The token that is sent now; empty without one."""
        return self._tokens.get(self.timeout) if self._tokens else ""

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _send(self, step: Send) -> Reply:
        try:
            return as_reply(self._http.send(self._request(self._http, step, timeout=step.deadline.timeouts())))
        except httpx2.HTTPError as error:
            raise self._failure(error, step.deadline) from error
