"""Replicas behind a real HAProxy: one address, one token, TLS. One replica is killed, and all are restarted under
load."""

import json
import os
import re
import signal
import ssl
import stat
import subprocess
import threading
import time
from collections import Counter
from urllib.parse import urlsplit

import httpx2
import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton

from serving.replicas import canary
from serving.replicas.group import Group
from serving.replicas.program import find
from serving.replicas.runtime import Runtime
from tests.conftest import run
from tests.trust.place import eventually, place
from tsi_client import Client, pinned
from tsi_client.grpc import GrpcClient

pytestmark = [
    pytest.mark.served,
    pytest.mark.skipif(find() is None, reason="HAProxy is not installed (Debian: apt-get install haproxy)"),
]
REPLICAS = 2


class Load:
    """Some clients that ask ``null`` over HTTP and as many over gRPC, until the block ends. ``statuses`` and ``calls``
    count their answers."""

    def __init__(self, group, clients=3):
        self._over, self.statuses, self.calls = threading.Event(), Counter(), Counter()
        token = group.tokens().present
        self._http = Client(group.asked.url, token, verify=pinned(group.authority), timeout=30)
        self._grpc = GrpcClient(grpc_url(group), token, authorities=group.authority, timeout=30)
        targets = [self._ask] * clients + [self._call] * clients
        self._threads = [threading.Thread(target=each) for each in targets]

    def _ask(self):
        while not self._over.wait(0.02):
            try:
                self.statuses[self._http.request("POST", "/predictions/null", content=b"x").status_code] += 1
            except Exception as error:  # every error that a client sees counts
                self.statuses[repr(error)] += 1

    def _call(self):
        while not self._over.wait(0.02):
            try:
                self.calls[str(self._grpc.infer("null", {"input": ["x"]}))] += 1
            except Exception as error:
                self.calls[repr(error)] += 1

    def all_answered(self):
        """Whether every client got only answers."""
        return set(self.statuses) == {200} and set(self.calls) == {"{}"}

    def __enter__(self):
        for each in self._threads:
            each.start()
        eventually(lambda: self.statuses[200] > 20 and self.calls["{}"] > 20)
        return self

    def __exit__(self, *_):
        self._over.set()
        for each in self._threads:
            each.join()
        self._grpc.close()


def grpc_url(group):
    return f"{urlsplit(group.asked.url).scheme}://127.0.0.1:{group.given().grpc_port}"


@pytest.fixture(scope="module")
def server(null_store, tmp_path_factory):
    with place(tmp_path_factory.mktemp("replicas"), null_store) as made:
        made.printed = made.verb("serve", REPLICAS=str(REPLICAS), TLS="1")
        assert made.printed.returncode == 0, made.printed.stdout + made.printed.stderr
        yield made
        processes, group = made.processes(), made.directory.processes()
        assert len(group) >= 2, "HAProxy and the keeper"
        made.verb("stop")
        assert not [each for each in [*processes, *group] if runs(each)] and not made.processes()


def runs(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.fixture
def group(server):
    return Group.read(server.directory)


def states(server):
    return Runtime(server.state.temp).states()


def all_up(server):
    return list(states(server).values()) == ["UP"] * REPLICAS


def pids(group):
    return [state.pid if (state := each.run.read()) and state.ready else 0 for each in group.replicas()]


def test_the_printed_curl_line_works_and_status_names_each_replica(server, group):
    (line,) = re.findall(r"^ +(curl .*)$", server.printed.stdout, re.MULTILINE)
    assert f"--cacert {group.authority}" in line and f"{group.asked.url}/predictions/null" in line
    assert subprocess.run(["sh", "-c", line], capture_output=True, text=True).stdout == '{"predictions":[]}'
    status = server.verb("status")
    assert status.returncode == 0, status.stdout
    assert status.stdout.startswith(f"{group.asked.url} (HAProxy, pid ")
    assert status.stdout.count("takes requests") == REPLICAS
    again = server.verb("serve", REPLICAS=str(REPLICAS), TLS="1")
    assert again.returncode == 0 and "already runs" in again.stdout
    other = server.verb("serve", REPLICAS="3")
    assert other.returncode == 1 and f"REPLICAS={REPLICAS}" in other.stderr and "make stop serve" in other.stderr


def test_one_token_opens_all_replicas(server, group):
    token = server.verb("token").stdout.strip()
    for url in (group.asked.url, *(each.config.inference for each in group.replicas())):
        with httpx2.Client(trust_env=False, verify=pinned(group.authority)) as http:
            answer = http.post(f"{url}/predictions/null", content=b"x", headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 200, url
            assert http.post(f"{url}/predictions/null", content=b"x").status_code == 401
            assert http.get(f"{url}/ping").status_code == 401


def test_tritons_client_is_balanced_over_tls_with_the_same_token(server, group):
    access, authority = {"authorization": f"Bearer {server.client.token()}"}, str(group.authority)
    before = balanced_calls(server)
    for port in (group.given().grpc_port, group.asked.port):
        with triton.InferenceServerClient(f"localhost:{port}", ssl=True, root_certificates=authority) as client:
            given = triton.InferInput("input", [1], "BYTES")
            given.set_data_from_numpy(np.array(["x"], dtype=object))
            for _ in range(REPLICAS):
                assert client.infer("null", [given], headers=access).get_response().model_version == "1.0"
            assert client.is_server_ready(headers=access)
            for refused, status in (({}, "UNAUTHENTICATED"), ({"authorization": "Bearer x"}, "UNAUTHENTICATED")):
                with pytest.raises(triton.InferenceServerException, match=status):
                    client.infer("null", [given], headers=refused)
            with pytest.raises(triton.InferenceServerException, match="NOT_FOUND"):
                client.infer("nobody", [given], headers=access)
    assert all(now > then for now, then in zip(balanced_calls(server), before, strict=True))


def balanced_calls(server):
    """How many gRPC calls HAProxy has sent to each replica."""
    rows = Runtime(server.state.temp).rows()
    return [int(each["stot"]) for each in rows if each["pxname"] == "grpc" and each["svname"].startswith("replica-")]


def test_the_certificate_is_this_machines_and_only_its_owner_reads_the_key(group):
    with httpx2.Client(trust_env=False) as http, pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        http.get(f"{group.asked.url}/ping")
    by_name = ssl.create_default_context(cafile=group.authority)  # checks the name too
    with httpx2.Client(trust_env=False, verify=by_name) as http:
        assert http.get(f"{group.asked.url.replace('127.0.0.1', 'localhost')}/ping").status_code == 401
    balancer = group.run.path / "balancer"
    assert stat.S_IMODE(balancer.stat().st_mode) == 0o700
    for name in ("certificate.pem", "key.pem", "served.pem", "haproxy.cfg"):
        assert stat.S_IMODE((balancer / name).stat().st_mode) == 0o600, name


def test_the_load_test_trusts_the_certificate_by_the_documented_variable(server, group, tmp_path):
    settings = {"MODELS": "null", "CONCURRENCY": "2", "DURATION": "0.5", "ROUNDS": "1", "RESULTS": str(tmp_path)}
    environment = {**server.environment, **settings, "MODELS": "null", "HOST": group.asked.url}
    done = run("loadtest", **environment, SSL_CERT_FILE=group.authority)
    assert done.returncode == 0, done.stdout + done.stderr
    (summary,) = tmp_path.glob("*/summary.json")
    (row,) = json.loads(summary.read_text())["rows"]
    assert row["errors"] == 0 and row["requests"] > 10


def test_haproxys_metrics_and_the_replicas_are_found_by_prometheus(server, group):
    shown = httpx2.get(f"{server.config.metrics}/metrics", trust_env=False).text
    assert 'haproxy_server_status{proxy="replicas",server="replica-2",state="UP"} 1\n' in shown
    targets = json.loads((group.run.path / "replicas" / "targets.json").read_text())
    assert [each["labels"] for each in targets] == [{"replica": f"replica-{n}"} for n in (1, 2)]
    for each in targets:
        assert "tsi_workers_ready" in httpx2.get(f"http://{each['targets'][0]}/metrics", trust_env=False).text


def test_a_killed_replica_costs_no_request_and_comes_back(server, group):
    before = pids(group)
    with Load(group) as load:
        os.kill(before[1], signal.SIGKILL)
        eventually(lambda: states(server)["replica-2"] != "UP")
        said = server.verb("status")
        assert said.returncode == 1
        assert re.search(r"^replica-2: has ended, at .* is being started again$", said.stdout, re.MULTILINE)
        eventually(lambda: all_up(server), within_s=60)
    assert load.all_answered(), (load.statuses, load.calls)
    after = pids(group)
    assert after[1] not in (0, before[1]) and after[0] == before[0]
    assert server.verb("status").returncode == 0


def test_all_replicas_are_restarted_one_after_the_other_without_a_failed_request(server, group):
    before, temp = pids(group), server.state.temp
    canary.split(temp, canary.Canary("other", "2.0", 20), running=True)  # a rollout was killed
    with Load(group) as load:
        rolled = server.verb("restart")
        assert rolled.returncode == 0, rolled.stdout + rolled.stderr
    assert load.all_answered(), (load.statuses, load.calls)
    assert not set(before) & set(pids(group)) and all_up(server) and canary.file(temp).read_text() == ""
    assert rolled.stdout.count("has answered all its requests") == REPLICAS


def test_a_balancer_that_ends_is_started_again(server, group):
    before = server.state.pid
    os.kill(before, signal.SIGKILL)
    eventually(lambda: server.state.pid != before and server.state.running())
    with Load(group) as load:
        pass
    assert load.all_answered(), (load.statuses, load.calls)


def test_a_replica_whose_archive_was_built_again_waits_for_a_restart(server, group):
    archive = server.store / "null.mar.sha256"
    digest = archive.read_text()
    archive.write_text("0" * 64 + digest[64:])
    try:
        os.kill(pids(group)[0], signal.SIGKILL)
        eventually(lambda: "does not start" in server.verb("status").stdout, every_s=0.3)
    finally:
        archive.write_text(digest)
    eventually(lambda: all_up(server), within_s=60)


def test_the_logs_are_those_of_the_balancer_the_keeper_and_each_replica(server):
    shown = server.verb("logs").stdout
    for name in ("run/logs/balancer.log", "run/logs/keeper.log"):
        assert f"{name} <==" in shown
    assert all(f"run/replicas/{number}/logs" in shown for number in (1, 2))
    assert "replica-2 is warm and takes requests again" in shown


def test_requests_beyond_all_queues_are_refused_by_the_balancer(null_store, tmp_path):
    from tests.rollout.versions import HANDLER, SLOW
    from tests.trust.place import rewrite

    with place(tmp_path, null_store, job_queue_size="2", open_ping="true") as made:
        rewrite(made.store / "null.mar", lambda name, data: data + SLOW.encode() if name == HANDLER else data)
        made.serve(REPLICAS="2")
        url, access = made.config.inference, {"Authorization": f"Bearer {made.client.token()}"}
        assert httpx2.get(f"{url}/ping", trust_env=False).status_code == 200
        found = []

        def ask():
            began = time.monotonic()
            answer = httpx2.post(f"{url}/predictions/null", content=b"x", headers=access, trust_env=False, timeout=30)
            found.append((answer.status_code, answer.headers.get("retry-after"), time.monotonic() - began))

        threads = [threading.Thread(target=ask) for _ in range(12)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert {status for status, _, _ in found} == {200, 503}, found
        assert all(told == "1" for status, told, _ in found if status == 503)
        shown = [
            httpx2.get(f"{each.config.metrics}/metrics", trust_env=False).text
            for each in Group.read(made.directory).replicas()
        ]
        refused = re.findall(r'^tsi_errors_total\{.*kind="queue_full".*\} (\S+)$', "".join(shown), re.MULTILINE)
        assert refused and {float(each) for each in refused} == {0.0}
