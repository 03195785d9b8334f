"""HAProxy with this project's config, before plain web servers: a share for another version, a replacement without
errors."""

import dataclasses
import http.client
import http.server
import itertools
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import grpc
import httpx2
import psutil
import pytest

from serving.replicas import canary, haproxy, program
from serving.replicas.canary import Canary
from serving.replicas.haproxy import Balancer, Bounds
from serving.replicas.runtime import DRAIN, MAINT, UP, Runtime
from serving.state import RunDirectory
from tests.conftest import free_ports
from tests.trust.place import eventually

pytestmark = pytest.mark.skipif(
    program.find() is None, reason="HAProxy is not installed (Debian: apt-get install haproxy)"
)


SECONDS = itertools.count(181)  # a config that is new each time


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with the requested path; the body "slow" after a second. The first server answers "/full" with 503."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        if self.rfile.read(int(self.headers.get("content-length") or 0)) == b"slow":
            Servers.slow.append(self.path)
            time.sleep(1)
            Servers.slow.remove(self.path)
        full = self.path.endswith("/full") and self.server is Servers.all[0]
        Servers.asked[self.server.server_port, self.path] += 1
        self.send_response(503 if full else 200)
        self.send_header("content-length", str(len(self.path)))
        self.end_headers()
        self.wfile.write(self.path.encode())

    do_GET = do_POST

    def log_message(self, *_):
        pass


class Servers(http.server.ThreadingHTTPServer):
    request_queue_size, daemon_threads = 100, True
    all: ClassVar[list[http.server.HTTPServer]] = []
    asked: ClassVar[Counter] = Counter()
    slow: ClassVar[list[str]] = []  # the paths of those that are under way

    def handle_error(self, *_):  # HAProxy resets unneeded connections
        pass


@pytest.fixture(scope="module")
def balanced(tmp_path_factory):
    """(run folder, temporary folder, balancer, its URL): two servers; each accepts 100 requests of ``null``."""
    directory = RunDirectory(tmp_path_factory.mktemp("run") / "run")
    directory.create()
    haproxy.folder(directory).mkdir()
    temp = str(tmp_path_factory.mktemp("t"))
    Servers.all[:] = [Servers(("127.0.0.1", 0), Echo) for _ in range(2)]
    for each in Servers.all:
        threading.Thread(target=each.serve_forever, daemon=True).start()
    port, grpc_port, metrics = free_ports(3)
    addresses = [f"127.0.0.1:{each.server_port}" for each in Servers.all]
    balancer = Balancer(
        f"127.0.0.1:{port}", f"127.0.0.1:{grpc_port}", f"127.0.0.1:{metrics}", "", addresses, addresses,
        [Bounds("null", 100)], 1000, 180, "t" * 64,
    )  # fmt: skip
    haproxy.write_config(directory, temp, balancer)
    haproxy.launch(directory, temp)
    yield directory, temp, balancer, f"http://127.0.0.1:{port}"
    psutil.Process(Runtime(temp).pid()).kill()
    for each in Servers.all:
        each.shutdown()


def exchange(balanced):
    """Puts a HAProxy with another config in the place of the one that runs; returns that one's pid."""
    directory, temp, balancer, _ = balanced
    before = Runtime(temp).pid()
    assert haproxy.write_config(directory, temp, dataclasses.replace(balancer, seconds=next(SECONDS)))
    haproxy.launch(directory, temp, successor_of=before)
    return before


def split(balanced, share):
    canary.split(balanced[1], share, running=True)


def test_a_canary_gets_its_share_without_another_haproxy(balanced):
    found, share, over, before = Counter(), [0], threading.Event(), Runtime(balanced[1]).pid()

    def ask():
        with httpx2.Client(trust_env=False) as http:
            while not over.wait(0.002):
                try:
                    answer = http.post(f"{balanced[3]}/predictions/null?top=1", content=b"x")
                    found[share[0], answer.status_code, answer.text] += 1
                except httpx2.HTTPError as error:
                    found[repr(error)] += 1

    def answers(percent):
        return [found[percent, 200, f"/predictions/null{version}?top=1"] for version in ("/2.0", "")]

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for each in threads:
        each.start()
    for percent, until in ((20, 200), (0, 50), (20, 400), (0, 100)):
        share[0] = -1  # while it changes
        split(balanced, Canary("null", "2.0", percent) if percent else None)
        share[0] = percent
        eventually(lambda percent=percent, until=until: sum(answers(percent)) > until)
    over.set()
    for each in threads:
        each.join()
    assert {key[1:] for key in found} <= {(200, "/predictions/null?top=1"), (200, "/predictions/null/2.0?top=1")}, found
    new, old = answers(20)
    assert 0.1 < new / (new + old) < 0.3, found
    assert answers(0)[0] <= 2 * len(threads), "those that were under way"
    assert Runtime(balanced[1]).pid() == before


def test_a_connection_is_answered_after_an_exchange_of_haproxy_and_told_that_it_ends(balanced):
    clients = [http.client.HTTPConnection("127.0.0.1", int(balanced[3].rpartition(":")[2])) for _ in range(20)]
    before = []
    for exchanged in (False, True):
        before += [exchange(balanced)] if exchanged else []
        for client in clients:
            client.request("POST", "/predictions/null", b"x")  # an error where the connection was closed meanwhile
            answer = client.getresponse()
            assert (answer.status, answer.read()) == (200, b"/predictions/null")
            assert answer.getheader("connection") == ("close" if exchanged else None)
    eventually(lambda: not haproxy.alive(before[0]))


def test_no_request_is_lost_while_haproxy_is_exchanged(balanced):
    """Unlike others, this client does not look whether a connection was closed before it sends on it. So it does not
    take luck to meet the moment of the close."""
    found, over = Counter(), threading.Event()

    def ask():
        client = http.client.HTTPConnection("127.0.0.1", int(balanced[3].rpartition(":")[2]))
        while not over.wait(0.005):
            client.request("POST", "/predictions/null", b"x")
            answer = client.getresponse()
            found[answer.status, answer.read()] += 1

    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(ask) for _ in range(8)]
        try:
            for _ in range(5):
                exchange(balanced)
        finally:
            over.set()
    assert [each.exception() for each in asking] == [None] * 8
    assert set(found) == {(200, b"/predictions/null")} and found.total() > 100, found


def test_a_share_ends_once_its_requests_have_been_answered(balanced):
    split(balanced, Canary("null", "2.0", 99.9))
    with ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(httpx2.post, f"{balanced[3]}/predictions/null", content=b"slow", trust_env=False)
                 for _ in range(5)]  # fmt: skip
        eventually(lambda: "/predictions/null/2.0" in Servers.slow)
        split(balanced, None)
        assert "/predictions/null/2.0" not in Servers.slow
        assert "/predictions/null/2.0" in [each.result().text for each in asked]


def test_a_haproxy_that_starts_has_the_share_of_the_one_before(balanced):
    url = f"{balanced[3]}/predictions/null"
    split(balanced, Canary("null", "2.0", 99.9))
    exchange(balanced)
    assert "/predictions/null/2.0" in [httpx2.post(url, trust_env=False).text for _ in range(4)]
    split(balanced, None)
    exchange(balanced)
    assert {httpx2.post(url, trust_env=False).text for _ in range(4)} == {"/predictions/null"}


def test_a_canary_leaves_named_versions_and_other_archives_alone(balanced):
    split(balanced, Canary("null", "2.0", 99.9))
    try:
        for path in ("/predictions/null/1.0", "/predictions/null-2", "/v1/models/null:predict", "/v2/health/ready"):
            assert httpx2.post(f"{balanced[3]}{path}", trust_env=False).text == path
        asked = [httpx2.post(f"{balanced[3]}/v2/models/null/infer", trust_env=False).text for _ in range(20)]
        assert "/v2/models/null/versions/2.0/infer" in asked
    finally:
        split(balanced, None)


def test_a_request_that_finds_no_room_is_sent_to_another_replica(balanced):
    answers = [httpx2.post(f"{balanced[3]}/predictions/null/full", content=b"x", trust_env=False) for _ in range(20)]
    assert [each.status_code for each in answers] == [200] * 20
    assert Servers.asked[Servers.all[0].server_port, "/predictions/null/full"] > 0


def test_a_replica_that_drains_or_starts_gets_no_request_of_any_archive(balanced):
    runtime, first = Runtime(balanced[1]), Servers.all[0].server_port
    for state, path in ((DRAIN, "/predictions/null/drain"), (MAINT, "/other/maint")):
        runtime.put("replica-1", state)
        eventually(lambda state=state: runtime.states()["replica-1"].lower() == state)
        for _ in range(6):
            assert httpx2.post(f"{balanced[3]}{path}", trust_env=False).status_code == 200
        assert Servers.asked[first, path] == 0
        assert runtime.await_quiet("replica-1", 5)
    runtime.put("replica-1", UP)
    runtime.await_up("replica-1")
    for _ in range(6):
        httpx2.post(f"{balanced[3]}/predictions/null/up", trust_env=False)
    assert Servers.asked[first, "/predictions/null/up"] > 0


def test_no_replica_at_all_is_a_503_that_says_when_to_come_back(balanced):
    runtime = Runtime(balanced[1])
    for name in ("replica-1", "replica-2"):
        runtime.put(name, MAINT)
    for path in ("/predictions/null", "/ping"):
        answer = httpx2.get(f"{balanced[3]}{path}", trust_env=False)
        assert answer.status_code == 503 and answer.headers["retry-after"] == "1"
        assert answer.json()["message"] == "No replica is ready; retry after 1 s."
    with grpc.insecure_channel(balanced[2].grpc) as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"", timeout=10)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    assert refused.value.details() == "No replica is ready; retry after 1 s."
    assert ("retry-after", "1") in refused.value.trailing_metadata()
    for name in ("replica-1", "replica-2"):
        runtime.put(name, UP)
        runtime.await_up(name)
