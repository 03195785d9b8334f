"""The front end's limits for many requests: their bytes and their places in a queue. No client can block the others."""

from __future__ import annotations

import contextlib
import gzip
import os
import select
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import metrics
from tests.trust.access import INFER, PREDICTIONS, call, field
from tests.trust.crowd import PATH, busy, fill, packed, post, queued
from tests.trust.figures import FULL, record
from tests.trust.place import eventually
from tests.trust.raw import ask, connection, head, receive
from tests.trust.small import HEAP, LARGEST, QUEUE, small_server
from tsi_client import Overloaded
from tsi_client.grpc import GrpcClient

pytestmark = pytest.mark.served


@pytest.fixture(scope="module")
def server(null_store, tmp_path_factory):
    with small_server(tmp_path_factory.mktemp("front"), null_store) as made:
        yield made


def test_a_gzip_body_beyond_the_memory_for_requests_is_refused_with_retry_after(server, base, token):
    """The body has a kilobyte compressed, and a megabyte decompressed."""
    small = gzip.compress(bytes(LARGEST))
    held, most = 60, HEAP // 2 // 4 * 3 // LARGEST  # of one address
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(connection(base)) for _ in range(held)]
        for sock in socks:
            sock.sendall(head(PATH, token, f"Content-Length: {LARGEST - 2_000}"))
        eventually(lambda: len(select.select(socks, [], [], 0)[0]) >= held - most)
        answer = ask(base, packed(token, small))  # the remaining bytes are fewer than any of them asks for
    assert (answer.status, answer.headers["retry-after"]) == (503, "1") and "as many bytes" in answer.json()["message"]
    eventually(lambda: ask(base, packed(token, small)).status == 200, 10)


def test_the_bytes_of_all_requests_together_are_bounded(server, base, token):
    """Connections hold requests of 1 MB without an end. Those that do not fit are refused with Retry-After, others are
    served."""
    held, most = 60, HEAP // 2 // 4 * 3 // LARGEST  # of one address
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(connection(base)) for _ in range(held)]
        for sock in socks:
            sock.sendall(head(PATH, token, "Content-Type: text/plain", f"Content-Length: {LARGEST}") + b"x" * 500_000)
        eventually(lambda: len(select.select(socks, [], [], 0)[0]) >= held - most)
        time.sleep(0.3)  # any further refusal has arrived by now
        refused = [receive(sock) for sock in select.select(socks, [], [], 0)[0]]
        assert len(refused) == held - most
        assert {(answer.status, answer.headers["retry-after"], answer.end) for answer in refused} == {
            (503, "1", "closed")
        }
        assert ask(base, post(token, b"x" * 900_000), source="127.0.0.2").status == 200
    eventually(lambda: ask(base, post(token, b"x" * 900_000)).status == 200, 10)  # all bytes were returned
    assert ask(base, post(token, b"x" * (LARGEST + 1))).json()["type"] == "RequestTooLargeException"


def refusals(server, kind):
    """How many requests to ``null`` the metrics count under that kind of error."""
    return metrics.value(server.config, "tsi_errors_total", model="null", kind=kind)


def spent(server):
    """The sum of the times of the requests to ``null`` that got a 5xx."""
    return metrics.value(server.config, "tsi_request_duration_seconds_sum", model="null", stage="total", status="5xx")


def test_a_full_queue_is_reported_with_retry_after(server, base, token):
    before, began, waited = refusals(server, "queue_full"), time.monotonic(), spent(server)
    with busy(server), contextlib.ExitStack() as stack:
        fill(server, stack, QUEUE)
        assert metrics.value(server.config, "tsi_queue_length", model="null") == QUEUE
        answer = ask(base, post(token, b"hi"))
        in_tensors = ask(base, post(token, b"{}").replace(PATH.encode(), b"/v2/models/null/infer", 1))
        unsent = head("/v2/models/null/versions/1.0/infer", token, "Content-Length: 900000", "Expect: 100-continue")
        objected = ask(base, unsent)
        over_grpc = [call(server.config, "grpc_inference_port", method, f"Bearer {token}", field(1, "null"))
                     for method in (PREDICTIONS, INFER)]  # fmt: skip
        port = server.config.properties["grpc_inference_port"]
        with GrpcClient(f"http://127.0.0.1:{port}", token, retries=0) as ours:
            with pytest.raises(Overloaded, match="503: The queue of null is full") as told:
                ours.metadata("null")
    assert told.value.retry_after == 1
    assert (answer.status, answer.headers["retry-after"], answer.end) == (503, "1", "open")
    assert f"The queue of null is full ({QUEUE} requests); retry after 1 s" in answer.json()["message"]
    for refused in (in_tensors, objected):
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert refused.json() == {"error": answer.json()["message"]}
    for code, said in over_grpc:
        assert code == "UNAVAILABLE" and f"The queue of null is full ({QUEUE} requests); retry after 1 s" in said
    assert refusals(server, "queue_full") == before + 6
    assert 0 < spent(server) - waited < 6 * (time.monotonic() - began)


def test_a_request_whose_client_hung_up_leaves_the_queue(server, base, token):
    before = refusals(server, "client_gone")
    with busy(server):
        with contextlib.ExitStack() as stack:
            fill(server, stack, QUEUE - 1)
        eventually(lambda: queued(server) <= 1)  # the one whose client still waits, unless the worker has it
        eventually(lambda: refusals(server, "client_gone") == before + QUEUE - 1)


def test_a_full_queue_makes_room_for_an_address_that_has_less(server, base, token):
    with busy(server), contextlib.ExitStack() as stack:
        greedy = fill(server, stack, QUEUE)
        modest = stack.enter_context(connection(base, "127.0.0.2"))
        modest.sendall(post(token, b"hi"))
        given_up, _, _ = select.select(greedy, [], [], 30)
        refused = ask(base, post(token, b"hi"))  # one more of the greedy address: refused
        assert refused.status == 503 and "others wait" in refused.json()["message"]
        os.kill(server.worker("null"), signal.SIGCONT)
        assert receive(modest).status == 200
        statuses = Counter(receive(sock, 0.05).status for sock in greedy)
    assert len(given_up) == 1
    assert statuses == {200: QUEUE - 1, 503: 1}


def test_a_greedy_address_does_not_take_the_queue_from_eight_modest_ones(server, base, token):
    """Figures: eight clients with a connection each and a pause of 20 ms, beside one with 60 connections and none."""
    seconds, over, found = 10 if FULL else 2, threading.Event(), {"greedy": [], "modest": []}

    def client(kind, source, pause_s):
        while not over.is_set():
            began = time.monotonic()
            status = ask(base, post(token, b"hi", "text/plain", "Connection: close"), 5, source).status
            found[kind].append((status, time.monotonic() - began))
            over.wait(pause_s)

    with ThreadPoolExecutor(68) as pool:
        for _ in range(60):
            pool.submit(client, "greedy", "127.0.0.1", 0)
        for number in range(2, 10):
            pool.submit(client, "modest", f"127.0.0.{number}", 0.02)
        time.sleep(seconds)
        over.set()
    slowest = sorted(took for _, took in found["modest"])
    served = {kind: Counter(status for status, _ in rows) for kind, rows in found.items()}
    record("greedy", seconds=seconds, served=served, modest_p50_ms=round(slowest[len(slowest) // 2] * 1e3, 1))
    assert served["modest"].keys() == {200} and served["greedy"][503] > 0
