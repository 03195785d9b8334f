"""A server with one slow worker, a short queue and little memory, so that the front end's limits are reached soon."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.trust.crowd import PATH, SLOW
from tests.trust.place import Place, place, reconfigure, rewrite
from tests.trust.raw import connection, head

QUEUE, LARGEST, HEAP, SILENCE_S = 16, 1 << 20, 128 << 20, 10
MOUNTED = "1f" * 16 + "+/="


@contextmanager
def small_server(folder: Path, null_store: Path) -> Iterator[Place]:
    """The running server. ``slow`` are two connections with half a request, begun right after its start. ``token_file``
    holds ``MOUNTED`` and its reverse."""
    flags = f"-Xmx{HEAP >> 20}m -XX:+UseSerialGC -XX:MaxDirectMemorySize=80m -Dfrontend.silenceS={SILENCE_S}"
    (folder / "a token").write_text(f"{MOUNTED}\n\n{MOUNTED[::-1]}\n")
    settings = {"job_queue_size": str(QUEUE), "max_request_size": str(LARGEST), "vmargs": flags,
                "open_ping": "true", "inference_token_file": "a token"}  # fmt: skip
    with place(folder, null_store, **settings) as made:
        rewrite(made.store / "null.mar", lambda name, data: data + SLOW if name == "null.py" else data)
        reconfigure(made.store / "null.mar", batchSize=1)
        made.serve()
        inference, elsewhere = made.config.inference, "127.0.0.9"
        with connection(inference, elsewhere) as silent, connection(inference, elsewhere) as headless:
            silent.sendall(head(PATH, made.client.token(), "Content-Length: 9") + b"half")
            headless.sendall(b"POST /")
            made.slow, made.token_file = [silent, headless], folder / "a token"
            yield made
