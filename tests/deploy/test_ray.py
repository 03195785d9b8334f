"""Ray Serve on one machine, as ``make serve ENGINE=ray`` starts it: a real Ray, real archives, the project's client,
golden cases, fuzz and load test, unchanged."""

from __future__ import annotations

import gzip
import json
import pickle
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests
import tritonclient.http as triton

from export.cases import SAMPLES, SENTENCES
from loadtest.load.golden import Golden
from loadtest.load.payloads import payloads
from loadtest.load.target import model_of
from serving.client import Client
from serving.config import Config
from serving.state import RunDirectory, await_ended
from tests.conftest import Served, run, write_config
from tests.deploy.ray_fuzz import RayCampaign, replicas
from tests.serving.open_inference import tensor
from tests.trust.fuzz.campaign import BURST
from tests.trust.place import halted

pytestmark = pytest.mark.served
pytest.importorskip("ray", reason="Ray is not installed: pip install '.[ray]', or make serve ENGINE=ray")
TEXT, IMAGE, NULL = "minilm-torchscript", "digits-torchscript", "null"
LARGEST, QUEUE = 1 << 20, 20


@pytest.fixture(scope="module")
def on_ray(store, tmp_path_factory):
    """A server of three archives. At its end the fixture asserts that nothing of it is left."""
    folder = tmp_path_factory.mktemp("ray")
    config = write_config(folder / "config.properties", max_request_size=str(LARGEST), job_queue_size=str(QUEUE))
    environment = {"CONFIG": str(config), "RUN_DIR": str(folder / "run"), "MODEL_STORE": str(store), "ENGINE": "ray",
                   "MODELS": "minilm digits null", "VARIANTS": "torchscript"}  # fmt: skip
    started = run("serving", "serve", **environment)
    directory = RunDirectory(folder / "run")
    assert started.returncode == 0, started.stdout + started.stderr + directory.console.read_text()[-3000:]
    assert "Starting Ray Serve with" in started.stdout and started.stdout.count("curl ") == 3
    loaded, state = Config.load(config), directory.read()
    processes = psutil.Process(state.pid).children(recursive=True)
    try:
        yield Served(environment, Client(loaded, directory.key_file), loaded, directory, [TEXT, IMAGE, NULL])
    finally:
        stopped = run("serving", "stop", **environment)
    assert stopped.returncode == 0 and stopped.stdout == "Ray Serve has stopped.\n", stopped.stdout + stopped.stderr
    assert await_ended(processes, 10) == []
    assert not Path(state.temp).exists() and not directory.key_file.exists()


def leader(served):
    return served.directory.read().pid


def ask(served, path, method="POST", body=b"hello", token=None, **headers):
    access = {"Authorization": f"Bearer {token or served.client.token()}"}
    given = {"Content-Type": "text/plain", **access, **{key.replace("_", "-"): each for key, each in headers.items()}}
    return requests.request(method, served.config.inference + path, data=body, headers=given, timeout=60)


@pytest.mark.parametrize("name", [TEXT, IMAGE])
def test_the_golden_cases_have_the_answers_of_the_archive_itself(on_ray, name):
    found = payloads(model_of(name))
    answers = dict(zip([each.name for each in found], own_answers(on_ray, name, found), strict=True))
    alone = Golden.record(model_of(name).task, found, lambda each: answers[each.name])
    for each in found:
        reply = on_ray.client.predict(name, each.body, each.content_type)
        assert reply.ok and alone.matches(each, reply.content), each.name
        assert reply.headers["x-variant"] == "torchscript" and reply.headers["x-model-version"] == "1.0"
        assert all(float(reply.headers[f"x-{stage}-ms"]) >= 0 for stage in ("preprocess", "inference", "postprocess"))


ALONE = """
import pickle, sys
from pathlib import Path
from deploy.ray.archive import Asked, Loaded
from serving.store import sha256
path = Path(sys.argv[1])
loaded = Loaded(path, sha256(path), {})
for body, content_type in pickle.load(sys.stdin.buffer):
    print(loaded.ask([Asked({"body": body}, {"body": {"content-type": content_type}})])[0].body.decode())
"""


def own_answers(served, name, found):
    """The archive's answers in a process without a server."""
    asked = pickle.dumps([(each.body, each.content_type) for each in found])
    path = f"{served.environment['MODEL_STORE']}/{name}.mar"
    done = subprocess.run([sys.executable, "-c", ALONE, path], input=asked, capture_output=True, check=True)
    return done.stdout.splitlines()


def test_every_protocol_has_the_same_answer(on_ray):
    access = {"Authorization": f"Bearer {on_ray.client.token()}"}
    sentences = list(SENTENCES[:4])
    plain = ask(on_ray, f"/predictions/{TEXT}/1.0", body=json.dumps({"text": sentences}),
                Content_Type="application/json").json()["embeddings"]  # fmt: skip
    v1 = ask(on_ray, f"/v1/models/{TEXT}:predict", body=json.dumps({"instances": sentences}),
             Content_Type="application/json").json()["predictions"]  # fmt: skip
    packed = ask(on_ray, f"/predictions/{TEXT}", body=gzip.compress(json.dumps({"text": sentences}).encode()),
                 Content_Type="application/json", Content_Encoding="gzip").json()["embeddings"]  # fmt: skip
    with triton.InferenceServerClient(on_ray.config.inference.removeprefix("http://")) as client:
        assert client.is_server_live(headers=access) and client.is_server_ready(headers=access)
        assert client.is_model_ready(TEXT, "1.0", headers=access)
        assert not client.is_model_ready(TEXT, "9", headers=access)
        assert client.get_model_metadata(TEXT, headers=access)["platform"] == "torchscript"
        v2 = client.infer(TEXT, [tensor(triton, "text", sentences)], headers=dict(access)).as_numpy("embedding")
    for found in (v1, packed, v2):
        assert np.array(found) == pytest.approx(np.array(plain), abs=1e-5)
    seven = (SAMPLES / "seven.png").read_bytes()
    form = requests.post(f"{on_ray.config.inference}/predictions/{IMAGE}", headers=access,
                         files={"image": seven}, data={"top_k": "2"}, timeout=60).json()  # fmt: skip
    assert [form["predictions"][0]["label"], len(form["predictions"])] == ["7", 2]


@pytest.mark.parametrize(
    ("path", "asked", "status", "kind"),
    [
        ("/predictions/null", {"token": "x" * 40}, 401, "InvalidKeyException"),
        ("/predictions/null", {"Authorization": ""}, 401, "InvalidKeyException"),
        ("/ping", {"method": "GET", "Authorization": "Basic a"}, 401, "InvalidKeyException"),
        ("/predictions/nobody", {}, 404, "ModelNotFoundException"),
        ("/predictions/null/9.9", {}, 404, "ModelVersionNotFoundException"),
        ("/models", {"method": "GET"}, 404, "ResourceNotFoundException"),
        ("/predictions/null", {"method": "GET"}, 405, "MethodNotAllowedException"),
        ("/v1/models/null:predict", {"method": "PUT"}, 405, "MethodNotAllowedException"),
        (f"/predictions/{TEXT}", {"body": b"x" * (LARGEST + 1)}, 413, "RequestTooLargeException"),
        (f"/predictions/{TEXT}", {"body": iter([b"x" * LARGEST, b"x"])}, 413, "RequestTooLargeException"),
        (f"/predictions/{TEXT}", {"body": gzip.compress(bytes(LARGEST + 1)), "Content_Encoding": "gzip"}, 413,
         "RequestTooLargeException"),
        (f"/predictions/{TEXT}", {"body": gzip.compress(b"a" * 99)[:-5], "Content_Encoding": "gzip"}, 400,
         "BadRequestException"),
        (f"/predictions/{TEXT}", {"Content_Encoding": "br"}, 415, "UnsupportedMediaTypeException"),
        (f"/predictions/{TEXT}", {"body": b"text=a&text=b", "Content_Type": "application/x-www-form-urlencoded"}, 400,
         "BadRequestException"),
        (f"/predictions/{TEXT}", {"body": b"E=mc2", "Content_Type": "application/x-www-form-urlencoded"}, 400,
         "RequestError"),
        (f"/predictions/{TEXT}", {"body": b"x" * 100_001}, 413, "TooLarge"),
    ],
)  # fmt: skip
def test_an_error_has_the_status_and_the_body_of_torchserve(on_ray, path, asked, status, kind):
    reply = ask(on_ray, path, **asked)
    said = reply.json()
    assert (reply.status_code, said["code"], said["type"]) == (status, status, kind) and said["message"]
    assert reply.headers["content-type"] == "application/json"
    if status in (401, 405):
        assert reply.headers["WWW-Authenticate" if status == 401 else "Allow"]


def test_an_error_in_tensors_has_the_protocols_form(on_ray):
    for path, status in ((f"/v2/models/{TEXT}/infer", 400), ("/v2/models/nobody/infer", 404)):
        reply = ask(on_ray, path, body=b'{"inputs": 3}', Content_Type="application/json")
        assert reply.status_code == status and list(reply.json()) == ["error"]


def test_a_body_is_refused_before_it_is_sent(on_ray):
    """At its head: without a token, or above the limit."""
    host, port = on_ray.config.inference.removeprefix("http://").split(":")
    for token, status in (("none", 401), (on_ray.client.token(), 413)):
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(f"POST /predictions/null HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n"
                               f"Content-Length: {LARGEST + 1}\r\n\r\n".encode())  # fmt: skip
            assert connection.recv(100).startswith(f"HTTP/1.1 {status} ".encode())


def test_queued_requests_are_one_batch_and_a_full_queue_is_a_503(on_ray):
    """The replica is halted, so that requests gather in the replica and before it."""
    assert ask(on_ray, f"/predictions/{TEXT}").ok
    [replica] = map(psutil.Process, replicas(TEXT, leader(on_ray)))
    refused, served = [], []

    def one(_):
        reply = ask(on_ray, f"/predictions/{TEXT}")
        (served if reply.ok else refused).append(reply)

    with ThreadPoolExecutor(60) as pool:
        with halted(replica):
            asked = pool.map(one, range(60))
            deadline = time.monotonic() + 20  # Ray takes a replica that is silent for longer as unhealthy
            while not refused and time.monotonic() < deadline:
                time.sleep(0.1)
            assert refused and not served
        list(asked)
    assert {each.status_code for each in refused} == {503}
    assert {each.json()["message"] for each in refused} == {
        f"The queue of {TEXT} is full ({QUEUE} requests); retry after 1 s."}  # fmt: skip
    assert all(each.headers["Retry-After"] == "1" for each in refused)
    assert len(served) >= QUEUE and max(int(each.headers["x-batch-size"]) for each in served) > 1


def test_no_hostile_request_ends_a_replica_or_changes_an_answer(on_ray):
    campaign = RayCampaign(leader(on_ray), on_ray.config.inference, on_ray.client, [TEXT], [IMAGE])
    campaign.run(20 * BURST, seed_value=1)
    assert campaign.tally.total >= 20 * BURST and campaign.tally.by_kind["good"]["200"] >= 30
    assert not campaign.tally.faults and campaign.deaths() == 0


def test_the_unchanged_load_test_measures_ray(on_ray, tmp_path):
    key = str(on_ray.directory.key_file)
    done = run("loadtest", HOST=on_ray.config.inference, TOKEN_FILE=key, MODELS="null", VARIANTS="", DURATION="3",
               CONCURRENCY="4", ROUNDS="1", RESULTS=str(tmp_path))  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "null" in done.stdout


def test_status_names_a_missing_replica_and_ray_starts_it_again(on_ray):
    assert run("serving", "status", **on_ray.environment).returncode == 0
    again = run("serving", "serve", **on_ray.environment)
    assert again.returncode == 0 and "Ray Serve already runs" in again.stdout
    [pid] = replicas(NULL, leader(on_ray))
    psutil.Process(pid).kill()
    deadline = time.monotonic() + 60
    while not (found := replicas(NULL, leader(on_ray))) or found == [pid] or not ask(on_ray, "/predictions/null").ok:
        assert time.monotonic() < deadline
        time.sleep(0.3)
