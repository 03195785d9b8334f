"""Access: every endpoint refuses every wrong key and accepts the right one."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from serving.client import Client
from tests.trust.access import (
    GRPC_ABSENT,
    GRPC_INFERENCE,
    GRPC_MANAGEMENT,
    INFERENCE,
    MANAGEMENT,
    OPEN,
    call,
    http,
    keys,
    refused,
    wrong_credentials,
)

pytestmark = pytest.mark.served


@pytest.mark.parametrize(("method", "path"), INFERENCE)
def test_inference_endpoints_take_the_inference_key_only(served, method, path):
    found, base = keys(served), served.config.inference
    for what, header in wrong_credentials(found, "inference").items():
        reply = http(base, method, path, header, data=b"x")
        assert refused(reply), f"{what}: {reply.status_code} {reply.text}"
        assert reply.headers["www-authenticate"] == "Bearer"
    assert not refused(http(base, method, path, f"Bearer {found['inference']}", data=b"x"))


@pytest.mark.parametrize(("method", "path"), MANAGEMENT)
def test_management_endpoints_take_their_key_only(served, method, path):
    found, base = keys(served), served.config.management
    right = "API" if path.startswith(("/token", "/versions")) else "management"
    for what, header in wrong_credentials(found, right).items():
        reply = http(base, method, path, header)
        assert refused(reply), f"{what}: {reply.status_code} {reply.text}"
    assert keys(served) == found  # no token was renewed
    if right == "management" and method == "GET":
        assert not refused(http(base, method, path, f"Bearer {found['management']}"))


@pytest.mark.parametrize(("api", "method", "path"), OPEN)
def test_endpoints_that_torchserve_leaves_open_tell_no_secret(served, api, method, path):
    reply = http(getattr(served.config, api), method, path, None)
    assert reply.status_code == 200
    assert not any(key in reply.text for key in keys(served).values())


@pytest.mark.parametrize("path", ["/", "/models", "/predictions/null", "/token?type=management", "/ping"])
def test_the_metrics_port_serves_metrics_alone(served, path):
    assert http(served.config.metrics, "GET", path, f"Bearer {keys(served)['management']}").status_code in (404, 405)


@pytest.mark.parametrize("service", [*GRPC_INFERENCE, *GRPC_MANAGEMENT], ids=lambda name: name.rsplit(".", 1)[-1])
def test_grpc_takes_its_key_only(served, service):
    kind = "inference" if service in GRPC_INFERENCE else "management"
    found = keys(served)
    for what, header in wrong_credentials(found, kind).items():
        code, said = call(served.config, f"grpc_{kind}_port", service, header)
        assert code == "UNAUTHENTICATED", f"{what}: {code} {said}"
    assert "Token" not in call(served.config, f"grpc_{kind}_port", service, f"Bearer {found[kind]}")[1]


@pytest.mark.parametrize("port", ["grpc_inference_port", "grpc_management_port"])
def test_grpc_offers_nothing_else(served, port):
    token = f"Bearer {keys(served)['management']}"
    for service in (*GRPC_ABSENT, *(GRPC_MANAGEMENT if "inference" in port else GRPC_INFERENCE)):
        assert call(served.config, port, service, token)[0] == "UNIMPLEMENTED", service


def test_every_listener_is_on_loopback(served):
    every = [c for process in served.directory.read().processes() for c in process.net_connections("inet")]
    found = [c for c in every if c.status == psutil.CONN_LISTEN]
    assert {c.laddr.port for c in found} >= set(served.config.ports())
    assert {c.laddr.ip.removeprefix("::ffff:") for c in found} <= {"127.0.0.1", "::1"}


def test_keys_and_run_folder_are_the_owners_alone(served):
    served.client.renew()  # TorchServe writes the file again
    assert served.directory.path.stat().st_mode & 0o777 == 0o700
    assert served.directory.key_file.stat().st_mode & 0o777 == 0o600
    for path in served.directory.path.rglob("*"):
        assert path.stat().st_uid == served.directory.path.stat().st_uid


def test_no_key_reaches_the_logs(served):
    for log in served.directory.logs.glob("*.log"):
        assert not any(key in log.read_text(errors="replace") for key in keys(served).values()), log.name


def test_renewal_under_load_loses_no_request(served):
    """Tokens are replaced five times while four clients ask; each client finds the new token by itself."""
    done = threading.Event()

    def ask(_: int) -> list[int]:
        client, statuses = Client(served.config, served.directory.key_file), []
        while not done.is_set():
            statuses.append(client.predict("null", b"x", "text/plain").status_code)
        return statuses

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask, number) for number in range(4)]
        renewing = Client(served.config, served.directory.key_file)
        seen = {renewing.token()}
        for _ in range(5):
            done.wait(0.5)
            seen.add(renewing.renew())
        done.set()
        statuses = [status for answered in asking for status in answered.result()]
    assert len(seen) == 6
    assert len(statuses) > 100 and set(statuses) == {200}
