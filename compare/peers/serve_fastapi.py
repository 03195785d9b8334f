"""FastAPI by hand: uvicorn's worker processes, one thread for the model, and batches of the waiting requests."""

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress

import uvicorn
from encoder import Encoder
from fastapi import FastAPI, Request
from starlette.datastructures import State

BATCH, WAIT_S = int(os.environ["BATCH"]), float(os.environ["WAIT_MS"]) / 1e3


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Opens the model, its thread and the batcher of a worker process, and closes them at its end."""
    app.state.encoder, app.state.pool = await asyncio.to_thread(Encoder), ThreadPoolExecutor(1)
    app.state.queue = asyncio.Queue()
    batcher = asyncio.create_task(batches(app.state))
    yield
    batcher.cancel()


app = FastAPI(lifespan=lifespan)


@app.post("/predictions/model", response_model=None)  # otherwise FastAPI checks each answer against the annotation
async def predict(request: Request) -> dict[str, list[float]]:
    """The embedding of the text in the body."""
    text, state = (await request.body()).decode(), request.app.state
    if BATCH == 1:
        return {"embedding": (await run(state, [text]))[0]}
    answer = asyncio.get_running_loop().create_future()
    await state.queue.put((text, answer))
    return {"embedding": await answer}


def run(state: State, texts: list[str]) -> asyncio.Future[list[list[float]]]:
    """The embeddings of texts, computed in the model's thread."""
    return asyncio.get_running_loop().run_in_executor(state.pool, state.encoder, texts)


async def batches(state: State) -> None:
    """Batches texts that come within WAIT_S of each other, up to BATCH of them. Runs until it is cancelled."""
    while True:
        waiting = [await state.queue.get()]
        with suppress(asyncio.TimeoutError):
            while len(waiting) < BATCH:
                waiting.append(await asyncio.wait_for(state.queue.get(), WAIT_S))
        try:
            found = await run(state, [text for text, _ in waiting])
            for (_, answer), vector in zip(waiting, found, strict=True):
                if not answer.done():
                    answer.set_result(vector)
        except Exception as error:
            for _, answer in waiting:
                if not answer.done():
                    answer.set_exception(error)


if __name__ == "__main__":
    uvicorn.run("serve_fastapi:app", host="127.0.0.1", port=int(os.environ["PORT"]),
                workers=int(os.environ["WORKERS"]), access_log=False, log_level="warning",
                timeout_worker_healthcheck=60)  # fmt: skip - by default a worker that is busy for 5 s is ended
