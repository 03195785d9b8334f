"""HAProxy with this project's config, before plain web servers: a share for another version, a replacement without
errors."""

import dataclasses
import http.server
import threading
import time
from collections import Counter
from typing import ClassVar

import grpc
import httpx2
import psutil
import pytest

from serving.replicas import haproxy, program
from serving.replicas.haproxy import Balancer, Bounds, Canary
from serving.replicas.runtime import DRAIN, MAINT, UP, Runtime
from serving.state import RunDirectory
from tests.conftest import free_ports
from tests.trust.place import eventually

pytestmark = pytest.mark.skipif(
    program.find() is None, reason="HAProxy is not installed (Debian: apt-get install haproxy)"
)


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with the requested path. The first server alone answers "/full" with 503."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
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


def exchange(balanced, **changes):
    directory, temp, balancer, _ = balanced
    before = Runtime(temp).pid()
    assert haproxy.write_config(directory, temp, dataclasses.replace(balancer, **changes))
    haproxy.launch(directory, temp, successor_of=before)
    haproxy.await_end(before)
    assert not haproxy.alive(before)


def test_a_canary_gets_its_share_and_no_request_fails_while_haproxy_is_exchanged(balanced):
    found, share, over = Counter(), [0], threading.Event()

    def ask():
        with httpx2.Client(trust_env=False) as http:
            while not over.wait(0.002):
                try:
                    answer = http.post(f"{balanced[3]}/predictions/null?top=1", content=b"x")
                    found[share[0], answer.status_code, answer.text] += 1
                except httpx2.HTTPError as error:
                    found[repr(error)] += 1

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for each in threads:
        each.start()
    for _ in range(2):
        exchange(balanced, canary=Canary("null", "2.0", 20))
        share[0] = 20
        time.sleep(1.5)
        exchange(balanced)
        share[0] = 0
        time.sleep(0.3)
    over.set()
    for each in threads:
        each.join()
    assert {key[1:] for key in found} <= {(200, "/predictions/null?top=1"), (200, "/predictions/null/2.0?top=1")}, found
    new, old = (found[20, 200, f"/predictions/null{version}?top=1"] for version in ("/2.0", ""))
    assert new + old > 200 and 0.1 < new / (new + old) < 0.3, found


def test_a_canary_leaves_named_versions_and_other_archives_alone(balanced):
    exchange(balanced, canary=Canary("null", "2.0", 99.9))
    try:
        for path in ("/predictions/null/1.0", "/predictions/null-2", "/v1/models/null:predict", "/v2/health/ready"):
            assert httpx2.post(f"{balanced[3]}{path}", trust_env=False).text == path
        asked = [httpx2.post(f"{balanced[3]}/v2/models/null/infer", trust_env=False).text for _ in range(20)]
        assert "/v2/models/null/versions/2.0/infer" in asked
    finally:
        exchange(balanced)


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
