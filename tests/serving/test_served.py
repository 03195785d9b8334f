"""Every row through a real TorchServe: answers, batches, bad requests, management, tokens."""

import base64
import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import requests

from export.cases import SAMPLES
from export.catalog import MODELS, rows
from serving.client import Client
from tests.conftest import CPU_VARIANTS, LEFT_OUT, MODEL_VARIANTS, ROWS, run

pytestmark = pytest.mark.served
PNG, JPEG = (SAMPLES / "seven.png").read_bytes(), (SAMPLES / "flower.jpg").read_bytes()


def post(served, name, body, content_type="application/json"):
    body = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
    return served.client.predict(name, body, content_type)


def test_every_row_of_the_catalog_is_served(served):
    left_out = [row for row in rows(MODELS, CPU_VARIANTS, "cpu") if row not in ROWS]
    assert all(row.variant.name in LEFT_OUT[row.model.name] for row in left_out)
    assert served.names == sorted(row.name for row in ROWS) == served.client.models()


def rows_of(model):
    """Runs a test for each served variant of the model."""
    return pytest.mark.parametrize("variant", MODEL_VARIANTS[model])


class TestAnswers:
    @rows_of("minilm")
    def test_embedding(self, served, variant):
        name = f"minilm-{variant}"
        one = post(served, name, b"hello world", "text/plain")
        many = post(served, name, {"text": ["hello world", "bye"]})
        kserve = post(served, name, {"instances": ["hello world"]})
        vector = np.array(one.json()["embedding"])
        assert vector.shape == (384,) and np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
        assert many.json()["embeddings"][0] == pytest.approx(vector, abs=1e-6)
        assert kserve.json()["predictions"][0] == pytest.approx(vector, abs=1e-6)
        assert one.headers["x-variant"] == variant and one.headers["x-batch-size"] == "1"
        assert one.headers["content-type"] == "application/json"
        assert all(float(one.headers[f"x-{stage}-ms"]) >= 0 for stage in ("preprocess", "inference", "postprocess"))

    @rows_of("bert")
    def test_fill_mask(self, served, variant):
        predictions = post(served, f"bert-{variant}", {"text": "Paris is the [MASK] of France."}).json()["predictions"]
        assert len(predictions) == 5 and predictions[0].keys() == {"token", "score", "sequence"}
        scores = [p["score"] for p in predictions]
        assert scores == sorted(scores, reverse=True)

    @rows_of("digits")
    def test_classification(self, served, variant):
        raw = post(served, f"digits-{variant}", PNG, "image/png").json()
        encoded = post(served, f"digits-{variant}", {"image": base64.b64encode(PNG).decode()}).json()
        assert raw["predictions"][0]["label"] == "7"
        assert encoded == raw

    @rows_of("resnet50")
    def test_photo(self, served, variant):
        photo = post(served, f"resnet50-{variant}", JPEG, "image/jpeg").json()["predictions"]
        assert len(photo) == 5

    @rows_of("digits")
    def test_form_upload_and_kserve_url(self, served, variant):
        headers = {"Authorization": f"Bearer {served.client.token()}"}
        base = served.config.inference
        form = requests.post(
            f"{base}/predictions/digits-{variant}", headers=headers, files={"image": ("7.png", PNG, "image/png")}
        )
        assert form.json()["predictions"][0]["label"] == "7"
        v1 = requests.post(f"{base}/v1/models/minilm-{variant}:predict", headers=headers, json={"instances": ["a"]})
        assert len(v1.json()["predictions"]) == 1


@rows_of("photos")
def test_a_real_photograph_is_answered_right(served, variant):
    coffee = (SAMPLES / "coffee.jpg").read_bytes()
    (best, *_) = post(served, f"photos-{variant}", coffee, "image/jpeg").json()["predictions"]
    assert best["label"] == "espresso" and best["score"] > 0.5


@pytest.mark.parametrize(
    ("name", "body", "content_type", "status", "says"),
    [
        ("minilm-eager", b"", "text/plain", 400, "empty"),
        ("minilm-eager", b"\xff\xfe\xfd", "text/plain", 400, "not UTF-8"),
        ("minilm-eager", b"{", "application/json", 400, "not valid JSON"),
        ("minilm-eager", {"text": 5}, "application/json", 400, "a number"),
        ("minilm-eager", {"text": ["a"] * 65}, "application/json", 413, "at most 64"),
        ("minilm-eager", b"text+as+form", "application/x-www-form-urlencoded", 400, "Content-Type: text/plain"),
        ("digits-eager", b"not an image", "image/png", 400, "no image"),
        ("digits-eager", PNG[:300], "image/png", 400, "cut short"),
        ("digits-eager", PNG[:-12], "image/png", 400, "cut short"),
        ("digits-eager", {"image": "%%"}, "application/json", 400, "base64"),
        ("digits-eager", {"image": "https://example.org/7.png"}, "application/json", 400, "fetches no URLs"),
        ("minilm-eager", {"inputs": "hello"}, "application/json", 400, 'did you mean "text" by "inputs"?'),
        ("digits-eager", {"images": "x"}, "application/json", 400, 'did you mean "image" by "images"?'),
        ("bert-eager", {"text": "A [MASK].", "top_k": 2}, "application/json", 400, '"top_k" is an option'),
        ("bert-eager", b"no mask here", "text/plain", 400, "at least one"),
    ],
)
def test_bad_requests_get_a_4xx_with_a_sentence(served, name, body, content_type, status, says):
    reply = post(served, name, body, content_type)
    assert reply.status_code in (status, 415) and says in reply.json()["message"]
    assert reply.json().keys() == {"code", "type", "message"} and reply.json()["code"] == reply.status_code


def test_an_unknown_archive_is_404(served):
    assert post(served, "nobody", b"x", "text/plain").status_code == 404


def test_batches_form_and_equal_single_answers_with_bad_ones_among_them(served):
    texts = [f"sentence number {i} " + "pad " * (i % 7) for i in range(24)]
    alone = [np.array(post(served, "minilm-torchscript", t.encode(), "text/plain").json()["embedding"]) for t in texts]
    bodies = [(t.encode(), 200) for t in texts] + [(b"\xff", 400)] * 12
    mixed = [bodies[(i * 7) % len(bodies)] for i in range(len(bodies))]
    with ThreadPoolExecutor(36) as pool:
        replies = list(pool.map(lambda b: post(served, "minilm-torchscript", b[0], "text/plain"), mixed))
    assert [reply.status_code for reply in replies] == [status for _, status in mixed]
    by_text = {body: reply for (body, _), reply in zip(mixed, replies, strict=True)}
    for text, expected in zip(texts, alone, strict=True):
        assert by_text[text.encode()].json()["embedding"] == pytest.approx(expected, abs=1e-5)
    assert max(int(reply.headers.get("x-batch-size", 0)) for reply in replies) > 1


def test_describe_tells_variant_parity_and_versions(served):
    own = served.client.describe("resnet50-torchscript")["customizedMetadata"]
    assert (own["variant"], own["device"], own["weights"]) == ("torchscript", "cpu", "random weights")
    assert own["random_weights"] is True and own["parity"]["passed"] is True
    assert own["running"]["torchserve"] == "0.12.0"
    assert served.client.describe("minilm-eager")["customizedMetadata"]["random_weights"] is False


def test_scaling_and_ping(served):
    assert served.client.ping()
    served.client.scale("null", 2)
    assert len(served.client.workers("null")) == 2
    served.client.scale("null", 1)
    assert len(served.client.workers("null")) == 1


def test_one_client_does_not_wake_workers_that_it_does_not_need(served):
    served.client.scale("null", 3)
    workers = {worker["pid"] for worker in served.client.workers("null")}

    def waits():
        """How often each worker has waited for a request."""
        counted = re.compile(r"^voluntary_ctxt_switches:\s+(\d+)", re.M)
        return {pid: int(counted.search(Path(f"/proc/{pid}/status").read_text())[1]) for pid in workers}

    try:
        for _ in range(6):  # the first requests after a start go to each worker in turn
            assert post(served, "null", b"one", "text/plain").status_code == 200
        before = waits()
        for _ in range(60):
            assert post(served, "null", b"one", "text/plain").status_code == 200
        waited = sorted(after - before[pid] for pid, after in waits().items())
    finally:
        served.client.scale("null", 1)
    # Two workers may share them, since a client can be faster than the worker's thread.
    assert len(workers) == 3 and waited[0] < 5 and sum(waited) >= 60, waited


def test_no_further_thread_sends_a_batch_to_its_worker(served):
    """TorchServe hands each batch to a thread of a pool, and on two cores to a new one (Sending.java)."""
    java = Path(f"/proc/{served.directory.read().pid}/task")
    names: set[str] = set()

    def watch(done):
        while not done.is_set():
            for each in java.iterdir():
                with suppress(OSError):  # it has ended
                    names.add((each / "comm").read_text().strip())

    done = threading.Event()
    with ThreadPoolExecutor() as pool:
        watching = pool.submit(watch, done)
        try:
            for _ in range(200):
                assert post(served, "null", b"one", "text/plain").status_code == 200
        finally:
            done.set()
        watching.result()
    assert any(name.startswith("epollEventLoop") for name in names)
    assert not [name for name in names if re.match(r"Thread-\d|ForkJoinPool", name)]


def test_registering_over_the_network_is_off(served):
    token = served.client.token("management")
    for url in ("http://127.0.0.1:9/evil.mar", "file:///etc/passwd", "../null.mar", "null.mar"):
        reply = requests.post(
            f"{served.config.management}/models", params={"url": url}, headers={"Authorization": f"Bearer {token}"}
        )
        assert reply.status_code in (403, 404, 405), reply.text
    assert served.client.models() == served.names


def test_every_api_refuses_without_its_token(served):
    inference, management = served.client.token(), served.client.token("management")
    calls = {
        f"{served.config.inference}/ping": management,
        f"{served.config.inference}/predictions/null": management,
        f"{served.config.management}/models": inference,
        f"{served.config.management}/models/null": inference,
    }
    for url, of_the_wrong_kind in calls.items():
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Bearer {of_the_wrong_kind}"}):
            assert requests.get(url, headers=headers).status_code == 401


def test_a_renewed_token_replaces_the_old_one_and_clients_find_it(served):
    other = Client(served.config, served.directory.key_file)
    old = served.client.token()
    new = other.renew()
    assert new != old
    assert requests.get(
        f"{served.config.inference}/ping", headers={"Authorization": f"Bearer {old}"}
    ).status_code == 401  # fmt: skip
    assert post(served, "null", b"x", "text/plain").ok
    printed = run("serving", "token", **served.environment)
    assert printed.stdout == f"{new}\n" and printed.stderr == ""


def test_the_key_file_is_private(served):
    assert served.directory.key_file.stat().st_mode & 0o777 == 0o600
    assert served.directory.path.stat().st_mode & 0o777 == 0o700


def test_status_says_every_row_is_ready(served):
    status = run("serving", "status", **served.environment)
    assert status.returncode == 0
    server, *lines = status.stdout.splitlines()
    assert re.fullmatch(rf"{served.config.inference} \(pid \d+\), up for \d+ .+", server)
    assert [line.split(":")[0] for line in lines] == served.names
    assert all("1/1 workers ready" in line for line in lines)
    assert "resnet50-torchscript: version 1.0, 1/1 workers ready, weights random" in lines


def test_serving_again_says_that_it_runs(served):
    again = run("serving", "serve", **served.environment)
    assert again.returncode == 0 and "already runs" in again.stdout
    fewer = run("serving", "serve", **{**served.environment, "MODELS": "null"})
    assert fewer.returncode == 1 and "make stop serve" in fewer.stderr


def test_nothing_a_user_sent_is_logged(served):
    secret = f"zebra{time.time_ns()}"
    post(served, "minilm-eager", secret.encode(), "text/plain")
    post(served, "minilm-eager", f'{{"text": "{secret}'.encode(), "application/json")
    time.sleep(0.5)
    assert not any(secret in log.read_text(errors="replace") for log in served.directory.logs.glob("*.log"))
