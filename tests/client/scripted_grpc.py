"""A gRPC server that answers each call by a script, on a free port of loopback."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

Step = Callable[[Any], bytes]


class Scripted(grpc.GenericRpcHandler):
    """``calls`` are the methods and the tokens of the received calls. The last step of the script is repeated."""

    def __init__(self, steps: tuple[Step, ...]) -> None:
        self.calls: list[tuple[str, str]] = []
        self.url, self._steps = "", steps

    def service(self, details: Any) -> Any:
        """Answers every method with the next step."""
        token = dict(details.invocation_metadata).get("authorization", "").removeprefix("Bearer ")
        step = self._steps[min(len(self.calls), len(self._steps) - 1)]
        self.calls.append((details.method.rpartition("/")[2], token))
        return grpc.unary_unary_rpc_method_handler(lambda request, context: step(context))

    def tokens(self) -> list[str]:
        """The token of each call."""
        return [token for _, token in self.calls]


def answers(content: bytes) -> Step:
    """Answers with these bytes."""
    return lambda context: content


def refuses(status: str, said: str, **trailers: str) -> Step:
    """Ends the call with that status."""

    def refuse(context: Any) -> bytes:
        context.set_trailing_metadata([(name.replace("_", "-"), value) for name, value in trailers.items()])
        context.abort(grpc.StatusCode[status], said)
        return b""

    return refuse


def stalls(context: Any) -> bytes:
    """Answers after the client has given up."""
    while context.is_active():
        time.sleep(0.05)
    return b""


@contextmanager
def scripted(*steps: Step, credentials: Any = None) -> Iterator[Scripted]:
    """A server with these steps, one per call."""
    made = Scripted(steps)
    server = grpc.server(ThreadPoolExecutor(4), handlers=(made,))
    if credentials is None:
        made.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    else:
        made.url = f"https://localhost:{server.add_secure_port('127.0.0.1:0', credentials)}"
    server.start()
    try:
        yield made
    finally:
        server.stop(0)
