"""Takes the steps of a call, which exchange.py decides: one function waits, the other awaits."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import anyio
import anyio.to_thread

from tsi_client.errors import Error
from tsi_client.exchange import Ask, Send, Steps, Wait
from tsi_client.reply import Reply


def take(steps: Steps, send: Callable[[Send], Reply]) -> Reply:
    """The answer at the end of the steps. Raises what ``send`` and the tokens raise."""
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
    """The same. Raises TimeoutError when ``seconds`` are over."""
    try:
        with anyio.fail_after(seconds):
            step = next(steps)
            while True:
                result: Reply | str | None = None
                try:
                    if isinstance(step, Wait):
                        await anyio.sleep(step.seconds)
                    elif isinstance(step, Ask):
                        # A thread that waits for a file or the network may not keep the call beyond its time.
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
