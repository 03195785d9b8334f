"""Runs the steps of a call, which exchange.py decides. The sync client calls ``take``; the async client awaits
``take_async``. Both clients are closed at the end of a ``with`` block."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TypeVar

import anyio
import anyio.to_thread

from tsi_client.deadline import Deadline
from tsi_client.errors import Error, Timeout
from tsi_client.exchange import Ask, Call, Send, Steps, Wait, exchange
from tsi_client.reply import Reply
from tsi_client.tokens import TokenSource

W = TypeVar("W", bound="Waiting")
A = TypeVar("A", bound="Awaiting")


def take(steps: Steps, send: Callable[[Send], Reply]) -> Reply:
    """Runs the steps and returns the last answer. Raises the errors of ``send`` and of the tokens."""
    try:
        step = next(steps)
        while True:
            result: Reply | str | None = None
            try:
                if isinstance(step, Wait):
                    time.sleep(step.seconds)
                else:
                    result = step.function() if isinstance(step, Ask) else send(step)
            except Error as error:
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as done:
        reply: Reply = done.value
        return reply


async def take_async(steps: Steps, send: Callable[[Send], Awaitable[Reply]], seconds: float) -> Reply:
    """Like ``take``, for an async client. Raises TimeoutError after ``seconds``."""
    try:
        with anyio.fail_after(seconds):
            step = next(steps)
            while True:
                result: Reply | str | None = None
                try:
                    if isinstance(step, Wait):
                        await anyio.sleep(step.seconds)
                    elif isinstance(step, Ask):
                        # A thread that waits for a file or the network must not prolong the call.
                        result = await anyio.to_thread.run_sync(step.function, abandon_on_cancel=True)
                    else:
                        result = await send(step)
                except Error as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
    except StopIteration as done:
        reply: Reply = done.value
        return reply


class Calling:
    """The common part of every client: its address, the time limit and retries of a call, and its tokens."""

    url: str
    timeout: float
    retries: int
    _tokens: TokenSource | None

    def _deadline(self, call: Call) -> Deadline:
        return Deadline(self.timeout if call.timeout is None else call.timeout)

    def _steps(self, call: Call, deadline: Deadline) -> Steps:
        return exchange(call, self._tokens, self.retries if call.retried else 0, deadline)

    def _too_late(self, deadline: Deadline) -> Timeout:
        return Timeout(f"No answer from {self.url} within {deadline.seconds:g} s")


class Waiting(Calling):
    """A client that waits for its answers."""

    def close(self) -> None:
        """Closes the connections."""
        raise NotImplementedError

    def __enter__(self: W) -> W:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, call: Call) -> Reply:
        return take(self._steps(call, self._deadline(call)), self._in_time)

    def _in_time(self, step: Send) -> Reply:
        if step.deadline.left() <= 0:
            raise self._too_late(step.deadline)
        return self._send(step)

    def _send(self, step: Send) -> Reply:
        raise NotImplementedError


class Awaiting(Calling):
    """A client whose calls are awaited."""

    async def close(self) -> None:
        """Closes the connections."""
        raise NotImplementedError

    async def __aenter__(self: A) -> A:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, call: Call) -> Reply:
        deadline = self._deadline(call)
        try:
            return await take_async(self._steps(call, deadline), self._send, deadline.left())
        except TimeoutError:
            raise self._too_late(deadline) from None

    async def _send(self, step: Send) -> Reply:
        raise NotImplementedError
