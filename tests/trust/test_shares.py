"""The resources that clients share besides a queue: connections, and the bytes of HTTP and gRPC together."""

from __future__ import annotations

import contextlib
import select
import time
from collections import Counter

import grpc
import pytest
from tritonclient.grpc.service_pb2 import ModelInferRequest

from tests.trust.access import INFER, PREDICTIONS, call, field
from tests.trust.crowd import PATH, SLOW, busy, post, queued
from tests.trust.figures import record
from tests.trust.place import eventually, place, reconfigure, rewrite
from tests.trust.raw import ask, connection, head, receive

pytestmark = [pytest.mark.served, pytest.mark.alone]
PROTOCOLS = pytest.mark.parametrize("method", [PREDICTIONS, INFER], ids=["torchserve", "open_inference"])
QUEUE, LARGEST, HEAP, CONNECTIONS = 16, 1 << 20, 128 << 20, 200
ONE_ADDRESS = CONNECTIONS // 4 * 3


@pytest.fixture(scope="module")
def server(null_store, tmp_path_factory):
    """A server with one slow worker, a short queue, little memory and few connections."""
    settings = {"job_queue_size": str(QUEUE), "max_request_size": str(LARGEST), "max_connections": str(CONNECTIONS),
                "vmargs": f"-Xmx{HEAP >> 20}m -XX:+UseSerialGC"}  # fmt: skip
    with place(tmp_path_factory.mktemp("shares"), null_store, **settings) as made:
        rewrite(made.store / "null.mar", lambda name, data: data + SLOW if name == "null.py" else data)
        reconfigure(made.store / "null.mar", batchSize=1)
        made.serve()
        yield made


def message(size, method=PREDICTIONS):
    """A request of ``size`` bytes: the model's name, and one input."""
    if method == INFER:
        given = {"name": "input", "datatype": "BYTES", "shape": [1]}
        made = ModelInferRequest(model_name="null", inputs=[given], raw_input_contents=[b"x" * (size - 50)])
        made.raw_input_contents[0] = (size - 54).to_bytes(4, "little") + b"x" * (size - 54)
        made.id = "x" * (size - made.ByteSize() - 2)
        assert made.ByteSize() == size
        return made.SerializeToString()
    body = size - 6 - 4 - 10
    entry = field(1, "data") + b"\x12" + varint(body) + b"x" * body
    made = field(1, "null") + b"\x1a" + varint(len(entry)) + entry
    assert abs(len(made) - size) < 8
    return made + field(2, "")[:2] * ((size - len(made)) // 2)


def varint(number):
    made = b""
    while number > 127:
        made, number = made + bytes([number & 127 | 128]), number >> 7
    return made + bytes([number])


def predict(server, token, size, method=PREDICTIONS):
    return call(server.config, "grpc_inference_port", method, f"Bearer {token}", message(size, method))


@contextlib.contextmanager
def calls(server, token, size, count, compression=None, method=PREDICTIONS):
    """``count`` calls under way, each on its own connection, as futures."""
    access, options = [("authorization", f"Bearer {token}")], [("grpc.enable_http_proxy", 0)]
    options += [("grpc.use_local_subchannel_pool", 1)]
    with contextlib.ExitStack() as stack:
        target = f"127.0.0.1:{server.config.properties['grpc_inference_port']}"
        channels = [stack.enter_context(grpc.insecure_channel(target, options, compression)) for _ in range(count)]
        data = message(size, method)
        yield [channel.unary_unary(method).future(data, metadata=access, timeout=60) for channel in channels]


def statuses(futures):
    return Counter(future.exception().code().name if future.exception() else "OK" for future in futures)


def hold(stack, base, token, count):
    """Connections that have sent half of a request of the largest size, and the answers of the refused ones."""
    socks = [stack.enter_context(connection(base)) for _ in range(count)]
    for sock in socks:
        sock.sendall(head(PATH, token, "Content-Type: text/plain", f"Content-Length: {LARGEST}") + b"x" * 300_000)
    time.sleep(0.5)
    return [receive(sock).status for sock in select.select(socks, [], [], 0)[0]]


@PROTOCOLS
def test_forty_calls_of_the_largest_size_are_answered_or_refused_with_retry_after(server, base, token, method):
    with calls(server, token, LARGEST, 40, method=method) as futures:
        beside = ask(base, post(token, b"hi"), source="127.0.0.2").status
        found = statuses(futures)
    record("grpc", method=method, calls=40, statuses=dict(found))
    assert beside == 200 and found["OK"] >= 1 and found.keys() <= {"OK", "UNAVAILABLE", "RESOURCE_EXHAUSTED"}
    assert predict(server, token, LARGEST, method) == ("OK", "")


def test_a_message_too_large_is_refused_compressed_or_not(server, token):
    for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
        with calls(server, token, 3 * LARGEST, 1, compression) as (future,):
            assert future.exception().code().name == "RESOURCE_EXHAUSTED"
            assert f"more than {LARGEST} bytes" in future.exception().details()


def test_bytes_of_http_leave_less_to_grpc(server, base, token):
    most = HEAP // 2 // 4 * 3 // LARGEST
    with contextlib.ExitStack() as stack:
        assert hold(stack, base, token, most - 1) == []
        code, said = predict(server, token, LARGEST)
        assert code == "UNAVAILABLE" and "as many bytes as the server has room for; retry after 1 s" in said
        assert predict(server, token, 1_000) == ("OK", "")
    eventually(lambda: predict(server, token, LARGEST)[0] == "OK", 10)


@PROTOCOLS
def test_bytes_of_grpc_leave_less_to_http_until_their_calls_end(server, base, token, method):
    most, waiting = HEAP // 2 // 4 * 3 // LARGEST, 10
    with busy(server), contextlib.ExitStack() as stack:
        with calls(server, token, LARGEST, waiting, method=method) as futures:
            eventually(lambda: queued(server) >= waiting)
            refused = hold(stack, base, token, most - 1)  # beside them, the two bytes of the worker's request
            assert Counter(refused) == {503: waiting}
            for future in futures:
                future.cancel()
            eventually(lambda: queued(server) == 0)  # a call leaves the queue when its client hangs up
        assert hold(stack, base, token, waiting) == []


def test_a_compressed_call_counts_as_the_largest(server, base, token):
    def small(compression):
        with calls(server, token, 1_000, 1, compression) as futures:
            return statuses(futures)

    assert small(grpc.Compression.Gzip) == {"OK": 1}
    with contextlib.ExitStack() as stack:
        hold(stack, base, token, HEAP // 2 // 4 * 3 // LARGEST - 1)
        assert small(grpc.Compression.Gzip) == {"UNAVAILABLE": 1}
        assert small(None) == {"OK": 1}


def test_a_call_counts_for_its_senders_address(server, base, token):
    with busy(server), calls(server, token, 100, QUEUE) as futures:
        eventually(lambda: queued(server) >= QUEUE)
        own = ask(base, post(token, b"hi"))
        assert own.status == 503 and "is full" in own.json()["message"]
        with connection(base, "127.0.0.2") as other:
            other.sendall(post(token, b"hi"))
            eventually(lambda: any(future.done() for future in futures))
            given_up = [future for future in futures if future.done()]
            assert statuses(given_up) == {"UNAVAILABLE": 1} and "retry after" in given_up[0].exception().details()


def test_idle_connections_make_room_and_an_address_has_three_quarters(server, base, token):
    """300 sockets of one address, and as many of two others. For each one too many, the longest idle one ends."""
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(connection(base)) for _ in range(100)]
        time.sleep(0.5)  # each is older than all of the others
        socks += [stack.enter_context(connection(base)) for _ in range(200)]
        eventually(lambda: len(ended(socks)) >= 300 - ONE_ADDRESS)  # more, if sockets of an earlier test still linger
        assert set(socks[:100]) <= set(ended(socks)) and len(ended(socks)) < 300 - ONE_ADDRESS + 20
        socks[-1].sendall(post(token, b"hi"))
        assert receive(socks[-1]).status == 200
        others = [stack.enter_context(connection(base, f"127.0.0.{each}")) for each in (2, 3) for _ in range(50)]
        eventually(lambda: len(ended(socks)) >= 300 - (CONNECTIONS - 100))
        assert ended(others) == []
        assert ask(base, post(token, b"hi"), source="127.0.0.4").status == 200


def test_connections_with_a_request_under_way_are_kept_and_the_new_one_is_closed(server, base, token):
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(connection(base)) for _ in range(ONE_ADDRESS)]
        for sock in socks:
            sock.sendall(head(PATH, token, "Content-Type: text/plain", "Content-Length: 2") + b"h")
        time.sleep(0.5)
        began = time.monotonic()
        with connection(base) as refused:
            assert refused.recv(1) == b""
        assert 0.9 < time.monotonic() - began < 5  # it waited for a place
        with connection(base) as patient:
            patient.sendall(post(token, b"hi"))
            socks.pop().close()
            assert receive(patient, 0.01).status == 200
        assert ask(base, post(token, b"hi"), source="127.0.0.2").status == 200
        assert server.client.registration("null")["modelName"] == "null"  # the other ports have separate limits
        for sock in socks:
            sock.sendall(b"i")
        assert {receive(sock, 0.01).status for sock in socks} <= {200, 503}


def test_a_grpc_port_takes_no_more_connections_than_that(server, token):
    grpc_base = f"http://127.0.0.1:{server.config.properties['grpc_inference_port']}"
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(connection(grpc_base)) for _ in range(300)]
        eventually(lambda: len(ended(socks)) >= 300 - ONE_ADDRESS)
        time.sleep(0.5)
        assert len(ended(socks)) < 300 - ONE_ADDRESS + 20  # some more, if sockets of an earlier test still linger
        other = stack.enter_context(connection(grpc_base, "127.0.0.2"))
        other.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert other.recv(9)
    eventually(lambda: predict(server, token, 100)[0] == "OK", 10)


def ended(socks):
    """The sockets that the server has closed. Earlier data is read and dropped: a gRPC port begins with SETTINGS."""
    return [sock for sock in select.select(socks, [], [], 0)[0] if closed(sock)]


def closed(sock):
    patience = sock.gettimeout()
    sock.setblocking(False)
    try:
        while sock.recv(65536):
            pass
    except BlockingIOError:
        return False
    except OSError:  # reset
        pass
    finally:
        sock.settimeout(patience)
    return True
