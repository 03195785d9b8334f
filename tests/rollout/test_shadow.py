"""Copies of clients' requests for a new version, on a real server under load. Its answers are compared, and no client
sees them. The copying ends with the rollout, even if the rollout is killed."""

import os
import re
import signal
import subprocess
import sys
from base64 import b64decode
from contextlib import contextmanager
from functools import partial

import pytest
import requests

from rollout.asked import Bounds
from rollout.questions import Questions
from rollout.shadow import Found
from serving.errors import RequestRefused
from tests import metrics
from tests.conftest import ROOT, run
from tests.rollout import versions
from tests.rollout.versions import Steady, add
from tests.trust.place import eventually
from tests.trust.place import place as place_in

CLIENTS = b"of a client"  # versions recognise a client by it
SECRET = b"what nobody writes down"
FEW = {"MODEL": "null", "REQUESTS": "20", "WATCH": "1s", "SHADOW": "2s", "MAX_P99_RATIO": "1000"}
COPIED = re.compile(r"(\d+) of (\d+) requests of clients were copied: (\d+) answered alike, (\d+) differently, "
                    r"(\d+) failed")  # fmt: skip


@pytest.fixture(scope="module")
def place(null_store, tmp_path_factory):
    with place_in(tmp_path_factory.mktemp("shadow"), null_store) as made:
        made.environment |= {"MODELS_FILE": str(made.store.parent / "models.toml")}
        made.serve()
        yield made


def rollout(place, version, **given):
    return run("rollout", "rollout", **{**place.environment, **FEW, "VERSION": version, **given})


def counted(text):
    return [int(each) for each in COPIED.search(text).groups()]


def registered(place):
    return sorted(place.client.versions("null"))


@pytest.mark.served
def test_a_version_that_answers_clients_alike_takes_over_and_nothing_is_on_disk(place):
    add(place, "2.0", versions.TAKES_A_WHILE)
    with Steady(place, body=SECRET) as steady:
        done = rollout(place, "2.0")
    assert done.returncode == 0, done.stdout + done.stderr
    copied, asked, alike, different, failed = counted(done.stdout)
    assert 50 < asked <= 110 and alike == copied > 25 and different == failed == 0, done.stdout
    assert "of the copies, p99 " in done.stdout
    assert set(steady.statuses()) == {200} and steady.unwell == []
    assert steady.versions() == {("1.0", None), ("2.0", "2.0")} and steady.returns("1.0", "2.0") == []
    back = rollout(place, "1.0", SHADOW="1s")
    assert back.returncode == 0 and "no client asked meanwhile, so nothing was copied" in back.stdout, back.stderr
    assert registered(place) == ["1.0"]
    files = [file for folder in (place.directory.path, place.store) for file in folder.rglob("*") if file.is_file()]
    assert len(files) > 10 and [file for file in files if SECRET in file.read_bytes()] == []


@pytest.mark.served
@pytest.mark.parametrize(
    ("version", "change", "said"),
    [
        ("3.0", versions.WRONG_ON_CLIENTS, "MAX_DIFFERENT=0 percent is allowed, and 100.0 differ"),
        ("3.1", versions.FAILS_ON_CLIENTS, "MAX_ERRORS=0 is allowed"),
    ],
    ids=["answers wrong", "fails"],
)
def test_a_version_that_differs_on_clients_requests_alone_answers_none(place, version, change, said):
    add(place, version, change)
    errors = metrics.value(place.config, "tsi_errors_total")
    with Steady(place, body=CLIENTS) as steady:
        done = rollout(place, version)
    assert done.returncode == 1 and said in done.stderr, done.stdout + done.stderr
    assert "49 of 49 requests are answered alike" in done.stdout and "answers from now on" not in done.stdout
    assert set(steady.statuses()) == {200} and steady.versions() == {("1.0", None)} and steady.unwell == []
    assert metrics.value(place.config, "tsi_errors_total") == errors, "no client's"
    assert registered(place) == ["1.0"]


@pytest.mark.served
def test_the_copying_ends_by_itself_where_a_rollout_is_killed(place):
    add(place, "4.0", versions.TAKES_A_WHILE)
    environment = {**os.environ, **place.environment, **FEW, "VERSION": "4.0", "SHADOW": "300s"}
    with Steady(place, rate=10, body=CLIENTS) as steady, subprocess.Popen(
        [sys.executable, "-m", "rollout", "rollout"], cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE
    ) as process:  # fmt: skip
        assert any("4.0 gets copies of 100 %" in line for line in process.stdout)
        eventually(lambda: place.client.mirrored("null", "4.0")["asked"] > 3)
        process.send_signal(signal.SIGKILL)
        process.wait()
        # Fetching the answers would keep the copying alive.
        eventually(lambda: "Requests are no longer copied to null 4.0" in log(place), within_s=60)
    with pytest.raises(RequestRefused, match="No requests are copied to null 4"):
        place.client.mirrored("null", "4.0")
    assert set(steady.statuses()) == {200} and steady.versions() == {("1.0", None)}
    assert rollout(place, "4.0", SHADOW="1s").returncode == 0


def log(place):
    return (place.directory.logs / "ts_log.log").read_text()


@contextmanager
def mirrored_to(place, version, *changes):
    """A version that gets copies of all requests; yields the default version's number."""
    link = place.directory.models / "mirrored.mar"
    link.symlink_to(add(place, version, *changes))
    place.client.register("null", link.name)
    eventually(lambda: place.client.versions("null")[version]["workers"][0]["status"] == "READY", within_s=60)
    place.client.mirror("null", version, 60, 100)
    try:
        yield place.client.registration("null")["modelVersion"]
    finally:
        place.client.end_mirror("null", version)
        place.client.remove("null", version)
        link.unlink()


@pytest.mark.served
def test_all_forms_of_a_request_over_http_are_copied_and_compared(place):
    access, found = {"Authorization": f"Bearer {place.client.token()}"}, []

    def collected(least):
        found.extend(place.client.mirrored("null", "5.0")["pairs"])
        return len(found) >= least

    tensor = {"name": "input", "datatype": "BYTES", "shape": [1], "data": ["x"]}
    forms = {
        "/predictions/null": {"text": "x"},
        "/v1/models/null:predict": {"instances": ["x"]},
        "/v2/models/null/infer": {"inputs": [tensor]},
    }
    with mirrored_to(place, "5.0"):
        for number, (path, body) in enumerate(forms.items(), 1):
            answer = requests.post(f"{place.config.inference}{path}", json=body, headers=access)
            assert answer.status_code == 200, answer.text
            eventually(partial(collected, number))
        # A model's metadata names its version, so it is not compared.
        assert requests.get(f"{place.config.inference}/v2/models/null", headers=access).status_code == 200
        assert place.client.mirrored("null", "5.0")["asked"] == 3
        agree = Questions("null", place.client.describe("null/5.0")).agree
    bodies = [(b64decode(each["old"]), b64decode(each["new"])) for each in found]
    assert [agree(*each) for each in bodies] == [True] * 3
    assert bodies[2][0] != bodies[2][1], "the protocol's answer names the version"


@pytest.mark.served
def test_no_client_waits_for_copies_and_their_memory_is_bounded(place):
    url = f"{place.config.inference}/predictions/null"
    headers = {"Authorization": f"Bearer {place.client.token()}", "Content-Type": "text/plain"}
    with mirrored_to(place, "5.1", versions.SLOW) as default:
        for _ in range(30):
            answer = requests.post(url, data=bytes(1 << 20), headers=headers, timeout=30)
            assert (answer.status_code, answer.headers["x-model-version"]) == (200, default)
        found = place.client.mirrored("null", "5.1")
        # A worker that takes 0.4 s per request gets few of them, and at most eight of 1 MiB are kept.
        assert found["asked"] == 30 and 0 < found["skipped"] < 30 and found["under_way"] <= 7, found
        assert len(found["pairs"]) + found["skipped"] + found["under_way"] == 30
        assert all(pair["status"] == 200 and pair["new_ms"] >= 400 for pair in found["pairs"])
        for refused in ((0, 100), (60, 0), (60, 101), (3601, 100)):
            with pytest.raises(RequestRefused, match="seconds from 1 to 3600 and percent up to 100"):
                place.client.mirror("null", "5.1", *refused)
        with pytest.raises(RequestRefused, match="not the default"):
            place.client.mirror("null", default, 60, 100)
        for access in ({}, {"Authorization": f"Bearer {place.client.token('management')}"}):
            for method in ("POST", "GET", "DELETE"):
                reply = requests.request(method, f"{place.config.management}/versions/null/5.1/mirror", headers=access)
                assert reply.status_code == 401


def test_the_answers_to_copies_are_counted():
    found = Found()
    for status, new in ((200, "eA=="), (200, "eQ=="), (400, "eA=="), (500, "eA=="), (200, "")):
        found.add({"status": status, "old": "eA==", "new": new, "old_ms": 1.0, "new_ms": 2.0},
                  lambda old, new: old == new if new else None)  # fmt: skip
    found.asked = 7
    assert (found.agreed, found.different, found.failed, found.unread) == (1, 2, 1, 1)
    assert str(found) == ("5 of 7 requests of clients were copied: 1 answered alike, 2 differently, 1 failed, "
                          "1 cannot be compared")  # fmt: skip
    assert found.percent == pytest.approx(200 / 3) and found.speeds() is None
    found.old, found.new = [0.01] * 30, [0.03] * 30
    assert found.speeds().is_slower(Bounds.p99_ratio)
