"""A real server under 50 requests a second: versions are exchanged, failing ones go back, workers come and go."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from serving.errors import RequestRefused
from serving.store import intact_digest
from serving.versions import folder_of, version_of
from tests.conftest import ROOT, run
from tests.rollout import versions
from tests.rollout.versions import Steady, add
from tests.trust.access import keys
from tests.trust.place import eventually, rewrite
from tests.trust.place import place as place_in

pytestmark = pytest.mark.served
FEW = {"MODEL": "null", "REQUESTS": "20", "WATCH": "1s"}


@pytest.fixture(scope="module")
def place(store, tmp_path_factory):
    with place_in(tmp_path_factory.mktemp("rollout"), store) as made:
        made.environment |= {"MODELS_FILE": str(made.store.parent / "models.toml")}
        made.serve()
        yield made


def verb(place, name, **given):
    return run("rollout", name, **{**place.environment, **FEW, **given})


def registered(place):
    return sorted(place.client.versions("null"))


def is_as_before(place, version):
    """Whether only that version is registered, and it answers, is in the store and is on record."""
    digest = intact_digest(place.store / "null.mar")
    return (
        registered(place) == [version]
        and version_of(place.store / "null.mar") == version
        and place.state.archives == {"null": digest}
        and not list(place.directory.models.glob("rollout-*"))
    )


def test_a_rollout_and_a_rollback_lose_no_request_and_mix_no_versions(place):
    add(place, "2.0", versions.TAKES_A_WHILE)
    with Steady(place) as steady:
        done = verb(place, "rollout", VERSION="2.0", MAX_P99_RATIO="1000")
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(steady.statuses()) == {200} and steady.unwell == []
    assert steady.versions() == {("1.0", None), ("2.0", "2.0")}
    assert steady.returns("1.0", "2.0") == []
    assert "49 of 49 requests are answered alike" in done.stdout
    assert "requests of clients in 1 s, 0 of them failed" in done.stdout and " 0 requests of" not in done.stdout
    assert is_as_before(place, "2.0") and folder_of(place.store, "1.0").exists()

    assert "null: version 2.0, 1/1 workers ready" in place.verb("status").stdout
    # With these archives: a start would serve the archives that run.
    assert "already runs" in place.verb("serve").stdout

    with Steady(place) as steady:
        done = verb(place, "rollback")
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(steady.statuses()) == {200} and steady.unwell == []
    assert steady.versions() == {("1.0", None), ("2.0", "2.0")} and steady.returns("2.0", "1.0") == []
    assert is_as_before(place, "1.0") and folder_of(place.store, "2.0").exists()
    again = verb(place, "rollback")
    assert again.returncode == 1 and "No rollout of null is on record" in again.stderr


@pytest.mark.parametrize(
    ("version", "change", "said"),
    [
        ("3.0", versions.ANSWERS_WRONG, "49 of 49 requests are answered differently: its own example, sentence-00"),
        ("3.1", versions.DIES, "a worker of null 3.1 could not load: OSError: disk on fire"),
        ("3.2", versions.DIES_SILENTLY, "a worker of null 3.2 could not load: "),
        ("3.3", versions.NOW_AND_THEN_SLOW, "MAX_P99_RATIO=1.5 is allowed"),
    ],
    ids=["answers wrong", "raises at load", "ends at load", "is slow"],
)
def test_a_version_beyond_the_bounds_is_never_the_default(place, version, change, said):
    add(place, version, change)
    with Steady(place) as steady:
        done = verb(place, "rollout", VERSION=version)
    assert done.returncode == 1 and said in done.stderr, done.stdout + done.stderr
    assert "null 1.0 is served as before." in done.stderr
    assert set(steady.statuses()) == {200} and steady.versions() == {("1.0", None)} and steady.unwell == []
    assert is_as_before(place, "1.0") and folder_of(place.store, version).exists()


def test_a_version_that_fails_on_clients_is_rolled_back(place):
    add(place, "4.0", versions.FAILS_ON_CLIENTS)
    with Steady(place, body=b"of a client") as steady:
        done = verb(place, "rollout", VERSION="4.0", WATCH="3s", MAX_P99_RATIO="1000")
    assert done.returncode == 1 and "MAX_ERRORS=0 is allowed" in done.stderr, done.stdout + done.stderr
    assert {each.version for each in steady.answers if each.status == 200} == {"1.0"}
    assert 500 in steady.statuses()  # from 4.0, which was the default for a moment
    assert steady.answers[-1].status == 200 and is_as_before(place, "1.0")


@pytest.mark.parametrize(
    ("version", "bounds", "said"),
    [
        ("4.1", {"MAX_P99_MS": "200", "MAX_P99_RATIO": "1000"}, "MAX_P99_MS=200 is allowed"),
        ("4.2", {"MAX_P99_RATIO": "2"}, "MAX_P99_RATIO=2 times "),
    ],
    ids=["beyond the bound", "beyond the old version's"],
)
def test_a_version_that_is_slow_on_clients_is_rolled_back(place, version, bounds, said):
    add(place, version, versions.SLOW_ON_CLIENTS)
    with Steady(place, rate=100, body=b"of a client") as steady:
        done = verb(place, "rollout", VERSION=version, WATCH="5s", **bounds)
    assert done.returncode == 1 and said in done.stderr, done.stdout + done.stderr
    assert "requests of clients took longer than" in done.stderr and "answers from now on" in done.stdout
    assert set(steady.statuses()) == {200} and (version, version) in steady.versions()
    assert steady.answers[-1].version == "1.0" and is_as_before(place, "1.0")


def test_the_next_rollout_removes_the_rest_of_a_killed_one(place):
    add(place, "5.0", versions.TAKES_A_WHILE)
    left = place.directory.models / "left.mar"
    left.symlink_to(folder_of(place.store, "5.0") / "null.mar")
    assert place.client.register("null", left.name) == "5.0"
    assert "beside it: version 5.0" in place.verb("status").stdout
    place.client.set_default("null", "5.0")
    refused = verb(place, "rollout", VERSION="3.1")
    assert "a rollout that was killed had left 5.0 as the default; 1.0 is the default again" in refused.stdout
    assert "5.0 is removed; an interrupted rollout had registered it" in refused.stdout
    assert refused.returncode == 1 and registered(place) == ["1.0"]


def test_a_worker_answers_its_requests_before_it_ends(place):
    def asked():
        sent = [pool.submit(place.client.predict, "null/8.0", b"x", "text/plain") for _ in range(6)]
        time.sleep(0.2)  # by then workers have some requests, and others wait
        return sent

    def ready():
        return sum(each["status"] == "READY" for each in place.client.versions("null")["8.0"]["workers"])

    link = place.directory.models / "slow.mar"
    link.symlink_to(add(place, "8.0", versions.SLOW))
    place.client.register("null", link.name)
    place.client.change("null", "8.0", workers=3)
    eventually(lambda: ready() == 3, within_s=120)
    with ThreadPoolExecutor(6) as pool:
        first = asked()
        place.client.change("null", "8.0", workers=1)
        assert [each.result().status_code for each in first] == [200] * 6 and ready() == 1
        second = asked()
        place.client.remove("null", "8.0")
        assert [each.result().status_code for each in second] == [200] * 6
    assert is_as_before(place, "1.0")


def test_workers_come_and_go_under_load_and_are_kept(place):
    def workers():
        return len(place.client.workers("null"))

    with Steady(place, rate=200) as steady:
        more, between = verb(place, "scale", WORKERS="3"), workers()
        less, after = verb(place, "scale", WORKERS="1"), workers()
    assert (more.returncode, less.returncode) == (0, 0), more.stderr + less.stderr
    assert (between, after) == (3, 1) and set(steady.statuses()) == {200} and steady.unwell == []
    both = verb(place, "scale", WORKERS="2", BATCH_SIZE="4", BATCH_DELAY_MS="2.5")
    assert both.returncode == 0, both.stderr
    found = place.client.registration("null")
    assert [found[key] for key in ("minWorkers", "batchSize", "maxBatchDelay")] == [2, 4, 2500]
    text = (place.store.parent / "models.toml").read_text()
    assert text == "[null]\nworkers = 2\nbatch_size = 4\nbatch_delay_ms = 2.5\n"
    assert "already runs" in place.verb("serve").stdout


def test_a_version_or_an_archive_that_is_not_there_gets_a_sentence(place):
    unknown = verb(place, "rollout", VERSION="9")
    assert unknown.returncode == 1 and "Traceback" not in unknown.stderr
    assert "no version 9 of null (it has: 1.0, 2.0" in unknown.stderr
    assert "run: make archive MODELS=null VERSION=9" in unknown.stderr
    assert "null 1.0 is served already" in verb(place, "rollout", VERSION="1.0").stderr
    assert "no archive nil, only null" in verb(place, "scale", MODEL="nil", WORKERS="1").stderr


def test_a_rollout_that_is_ended_goes_back(place):
    add(place, "7.0", versions.TAKES_A_WHILE)
    environment = {**os.environ, **place.environment, **FEW, "VERSION": "7.0", "WATCH": "4", "MAX_P99_RATIO": "1000"}
    with subprocess.Popen(
        [sys.executable, "-m", "rollout", "rollout"], cwd=ROOT, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert any("7.0 answers from now on" in line for line in process.stdout)
        assert place.client.registration("null")["modelVersion"] == "7.0"
        process.terminate()
        assert process.wait(30) == 130 and "null 1.0 is served" in process.stderr.read()
    assert is_as_before(place, "1.0")


def test_a_rollout_checks_digests_and_what_is_served_as_a_start_does(place):
    damaged = add(place, "6.0")
    damaged.write_bytes(damaged.read_bytes() + b"x")
    refused = verb(place, "rollout", VERSION="6.0")
    assert refused.returncode == 1 and "is not what was built (its SHA-256 differs" in refused.stderr
    rewrite(place.store / "null.mar", lambda name, data: data + (b"\n" if name == versions.HANDLER else b""))
    rebuilt = verb(place, "rollout", VERSION="2.0")
    assert rebuilt.returncode == 1 and "built again since the start; run: make stop serve" in rebuilt.stderr


def test_versions_are_changed_with_the_owners_key_alone(place):
    url, found = f"{place.config.management}/versions/null", keys(place)
    for given in (None, "Bearer x", f"Bearer {found['management']}", f"Bearer {found['inference']}"):
        headers = {"Authorization": given} if given else {}
        calls = ("POST", "?archive=null.mar"), ("PUT", "/1.0?workers=9"), ("DELETE", "/1.0"), ("GET", "/1.0")
        for method, path in calls:
            assert requests.request(method, url + path, headers=headers).status_code == 401, (method, given)
    for file in ("../null.mar", "/etc/passwd", "http://127.0.0.1:1/null.mar", "file:///null.mar", ""):
        with pytest.raises(RequestRefused, match=r"names a \.mar file of the folder"):
            place.client.register("null", file)
    with pytest.raises(RequestRefused, match="it stays"):
        place.client.remove("null", "1.0")
    with pytest.raises(RequestRefused, match="it stays"):
        place.client.end_worker("null", "1.0", "8999")
    assert json.loads((place.directory.key_file).read_text())["API"]["key"] == found["API"]
    assert registered(place) == ["1.0"]
