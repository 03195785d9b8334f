"""More clients than places in a queue: refusals cost little, and every answer belongs to its request."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPResponse

import psutil
import pytest

from serving.client import Client
from tests.trust.crowd import PATH, busy, post, queued
from tests.trust.figures import record
from tests.trust.place import eventually, place, reconfigure, rewrite
from tests.trust.raw import ask, connection, head, receive

pytestmark = [pytest.mark.served, pytest.mark.alone]
QUEUE, CLIENTS, ROUNDS = 16, 256, 4
SPELL_S, MOST = 1.2, 4  # refusals at 0, 0.25 and 0.75 s; the client may wait for the one at 1.75 s
# An archive that answers with the body.
ECHO = b"""
    def read(self, payload):
        return [payload.raw if payload.raw is None else payload.raw.decode()]

    def collate(self, items):
        return Batch((np.zeros(len(items), dtype=np.uint8),), context=items)

    def answer(self, batch, index, outputs, options):
        return [batch.context[index]]
"""


@pytest.fixture(scope="module")
def server(null_store, tmp_path_factory):
    """A server with a short queue, whose worker answers in batches with the body of each request."""
    with place(tmp_path_factory.mktemp("overload"), null_store, job_queue_size=str(QUEUE)) as made:
        rewrite(made.store / "null.mar", lambda name, data: data + ECHO if name == "null.py" else data)
        reconfigure(made.store / "null.mar", batchSize=8)
        made.serve()
        yield made


@contextmanager
def full(server, source):
    """Meanwhile the queue is full of requests of that address. Each test has its own address, since pauses may outlast
    it."""
    with busy(server), ExitStack() as stack:
        while queued(server) < QUEUE:  # the worker's thread may take more than one into its batch
            stack.enter_context(connection(server.config.inference, source)).sendall(post(server.client.token(), b"hi"))
            time.sleep(0.02)
        yield


def answer(sock):
    """Status and body of the next answer on a connection."""
    response = HTTPResponse(sock, method="POST")
    response.begin()
    return response.status, response.read()


def test_a_client_that_ignores_retry_after_is_refused_a_few_times_and_then_answered(server, base, token):
    source, took = "127.0.0.2", []
    with full(server, source), connection(base, source) as sock:
        over = time.monotonic() + SPELL_S
        while time.monotonic() < over:
            began = time.monotonic()
            sock.sendall(post(token, b"again"))
            assert answer(sock)[0] == 503
            took.append(time.monotonic() - began)
        os.kill(server.worker("null"), signal.SIGCONT)
        eventually(lambda: queued(server) == 0)
        sock.sendall(post(token, b"at last"))
        assert answer(sock) == (200, b'{"predictions":["at last"]}')
    record("impatient", seconds=SPELL_S, refused=len(took), first_ms=round(took[0] * 1e3, 1))
    assert 2 <= len(took) <= MOST and took[0] < 0.2  # the refusal itself does not wait


def test_the_pause_moves_to_the_next_connection_if_a_client_closes_one(server, base, token):
    def spell(*headers):
        refused, over = 0, time.monotonic() + SPELL_S
        while time.monotonic() < over:
            with connection(base, source) as sock:
                sock.sendall(post(token, b"again", "text/plain", *headers))
                assert answer(sock)[0] == 503
            refused += 1
        return refused

    for source, headers in (("127.0.0.3", []), ("127.0.0.4", ["Connection: close"])):
        with full(server, source):
            assert 2 <= spell(*headers) <= MOST + 1  # a close may be seen after the next connection
            with connection(base, "127.0.0.9") as other:
                began = time.monotonic()
                other.sendall(head("/none", token))
                assert answer(other)[0] == 404 and time.monotonic() - began < 0.2


def test_a_client_that_heeds_retry_after_is_answered_at_once(server, base, token):
    source = "127.0.0.5"
    with full(server, source), connection(base, source) as sock:
        sock.sendall(post(token, b"a"))
        assert answer(sock)[0] == 503
        time.sleep(1)
        os.kill(server.worker("null"), signal.SIGCONT)
        eventually(lambda: queued(server) == 0)
        began = time.monotonic()
        sock.sendall(post(token, b"b"))
        assert answer(sock) == (200, b'{"predictions":["b"]}') and time.monotonic() - began < 0.2


def test_this_projects_client_retries_by_itself(server):
    client = Client(server.config, server.directory.key_file, timeout_s=60)
    with ThreadPoolExecutor(1) as pool:
        with full(server, "127.0.0.1"):
            began, asked = time.monotonic(), pool.submit(client.predict, "null", b"mine", "text/plain")
            time.sleep(0.5)
        assert asked.result().json() == {"predictions": ["mine"]} and time.monotonic() - began > 1


def test_pipelined_requests_without_a_place_are_refused_in_turn(server, base, token):
    source = "127.0.0.6"
    with full(server, source), connection(base, source) as sock:
        sock.sendall(post(token, b"one") + post(token, b"x" * 900_000) + post(token, b"two").replace(b"1.1", b"1.0"))
        began = time.monotonic()
        received = receive(sock, 3)
        assert (received.status, received.headers["connection"], received.end) == (503, "keep-alive", "closed")
        assert received.body.count(b"503 Service Unavailable") == 2 and time.monotonic() - began > 0.7
        assert b"\r\nconnection: close\r\n" in received.body.lower()


def test_a_body_that_waits_for_100_continue_is_refused_at_the_head(server, base, token):
    source = "127.0.0.7"
    with full(server, source):
        request = head(PATH, token, "Content-Type: text/plain", "Content-Length: 9", "Expect: 100-continue")
        refused = ask(base, request, 0.2, source)
    assert (refused.status, refused.end) == (503, "closed") and "is full" in refused.json()["message"]


def test_a_connection_that_hangs_up_in_its_pause_is_closed(server, base, token):
    source = "127.0.0.8"
    java = next(process for process in server.processes() if process.name() == "java")

    def held(port):
        return any(each.raddr and each.raddr[1] == port for each in psutil.Process(java.pid).net_connections("tcp"))

    with full(server, source):
        with connection(base, source) as sock:
            port = sock.getsockname()[1]
            for _ in range(3):  # the third pause lasts a second
                sock.sendall(post(token, b"a"))
                assert answer(sock)[0] == 503
            assert held(port)
        assert eventually(lambda: not held(port), 5, 0.02) < 1.5


def test_every_answer_belongs_to_its_request_at_256_connections_of_which_some_hang_up(server, base, token):
    """A quarter hangs up after the request, before or while a worker has it, and asks on a new connection."""
    dice, found = random.Random(7), Counter()
    with ExitStack() as stack:
        socks = [stack.enter_context(connection(base, f"127.0.1.{number % 4 + 1}")) for number in range(CLIENTS)]
        for turn in range(ROUNDS):
            for number, sock in enumerate(socks):
                sock.sendall(post(token, f"{turn}-{number}".encode()))
            for number in dice.sample(range(CLIENTS), CLIENTS // 4):
                socks[number].close()
                socks[number] = stack.enter_context(connection(base, f"127.0.1.{number % 4 + 1}"))
                socks[number].sendall(post(token, f"{turn}-{number}".encode() + b"-once more"))
                found["hung up"] += 1
            for number, sock in enumerate(socks):
                status, body = answer(sock)
                found[status] += 1
                own = f'{{"predictions":["{turn}-{number}'.encode()
                assert status == 503 or body in (own + b'"]}', own + b'-once more"]}'), (turn, number, body)
    record("own_answers", connections=CLIENTS, found={str(key): count for key, count in found.items()})
    assert found.keys() == {"hung up", 200, 503} and found[200] + found[503] == CLIENTS * ROUNDS
    assert found[200] >= QUEUE * ROUNDS
