"""A rollout to replicas behind HAProxy: some of the requests first, then all, and back where clients see errors."""

import re
import threading
from collections import Counter
from contextlib import contextmanager

import pytest

from rollout.asked import Bounds
from serving.client import Client
from serving.errors import ServingError
from serving.replicas import canary
from serving.replicas.canary import Canary
from serving.replicas.group import Group
from serving.replicas.program import find
from serving.replicas.runtime import Runtime
from serving.store import intact_digest
from tests.conftest import run
from tests.rollout import versions
from tests.rollout.versions import Steady, add
from tests.trust.place import place as place_in
from tsi_client.grpc import GrpcClient

needs_haproxy = pytest.mark.skipif(find() is None, reason="HAProxy is not installed (Debian: apt-get install haproxy)")
FEW = {"MODEL": "null", "REQUESTS": "20", "MAX_P99_RATIO": "1000"}


@pytest.fixture(scope="module")
def place(null_store, tmp_path_factory):
    with place_in(tmp_path_factory.mktemp("rollout"), null_store) as made:
        made.environment |= {"MODELS_FILE": str(made.store.parent / "models.toml")}
        made.serve(REPLICAS="2")
        yield made


def verb(place, name, **given):
    return run("rollout", name, **{**place.environment, **FEW, **given})


def clients(place):
    """A client of each replica."""
    return [Client(each.config, each.run.key_file) for each in Group.read(place.directory).replicas()]


def workers(place):
    """The pids of all replicas' workers."""
    return {each["pid"] for client in clients(place) for each in client.workers("null")}


def serves(place, version):
    """Whether each replica has only that version, HAProxy sends no requests to another, and it is on record and in the
    store."""
    return (
        [list(each.versions("null")) for each in clients(place)] == [[version]] * 2
        and place.state.archives == {"null": intact_digest(place.store / "null.mar")}
        and splits_nothing(place)
    )


def splits_nothing(place):
    """Whether HAProxy's map is empty, and so is its file."""
    shares = canary.file(place.state.temp)
    return (shares.read_text(), Runtime(place.state.temp).ask(f"show map {shares}").strip()) == ("", "")


@contextmanager
def calls(place):
    """Calls over gRPC, without TLS, from entry to exit; counts each answer or error."""
    found, over = Counter(), threading.Event()

    def ask():
        with GrpcClient(f"http://127.0.0.1:{place.config.grpc_port}", place.client.token()) as client:
            while not over.wait(0.02):
                try:
                    found[str(client.infer("null", {"input": ["x"]}))] += 1
                except Exception as error:  # every error that a client sees counts
                    found[repr(error)] += 1

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


@pytest.mark.served
@needs_haproxy
def test_a_canary_gets_its_share_before_all_replicas_change(place):
    add(place, "2.0", versions.TAKES_A_WHILE)
    before = Runtime(place.state.temp).pid()
    with Steady(place) as steady, calls(place) as called:
        done = verb(place, "rollout", VERSION="2.0", CANARY="20", WATCH="2s")
    assert done.returncode == 0, done.stdout + done.stderr
    assert Runtime(place.state.temp).pid() == before, "a HAProxy that is succeeded closes connections"
    assert set(called) == {"{}"} and called["{}"] > 20, called
    assert set(steady.statuses()) == {200} and steady.unwell == []
    assert steady.versions() == {("1.0", None), ("2.0", "2.0")}
    some, others = map(int, re.findall(r"(\d+) requests of clients in 2 s, 0 of them failed", done.stdout))
    assert 5 <= some <= 45 < others, "20 % of 100, and all of 100"
    assert serves(place, "2.0")
    status = place.verb("status")
    assert status.returncode == 0 and status.stdout.count("null: version 2.0, 1/1 workers ready") == 2
    assert "already runs" in place.verb("serve", REPLICAS="2").stdout

    with Steady(place) as steady:
        done = verb(place, "rollback")
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(steady.statuses()) == {200} and serves(place, "1.0")


@pytest.mark.served
@needs_haproxy
def test_a_canary_that_fails_on_clients_never_answers_the_others(place):
    add(place, "4.0", versions.FAILS_ON_CLIENTS)
    with Steady(place, body=b"of a client") as steady:
        done = verb(place, "rollout", VERSION="4.0", CANARY="10", WATCH="4s")
    assert done.returncode == 1 and "MAX_ERRORS=0 is allowed" in done.stderr, done.stdout + done.stderr
    assert "null 1.0 is served as before." in done.stderr and "answers from now on" not in done.stdout
    assert set(steady.statuses()) <= {200, 500} and steady.answers[-1].status == 200
    assert serves(place, "1.0")


@pytest.mark.served
@needs_haproxy
def test_each_replica_copies_the_requests_that_it_gets(place):
    add(place, "5.0", versions.WRONG_ON_CLIENTS, versions.LOGS_CLIENTS)
    with Steady(place, body=b"of a client") as steady:
        done = verb(place, "rollout", VERSION="5.0", SHADOW="2s")
    assert done.returncode == 1 and "MAX_DIFFERENT=0 percent is allowed, and 100.0 differ" in done.stderr, done.stderr
    counted = re.search(r"(\d+) of (\d+) requests .* alike, (\d+) differently", done.stdout)
    copied, asked, different = map(int, counted.groups())
    logs = [each.run.model_log.read_text() for each in Group.read(place.directory).replicas()]
    seen = [len(re.findall(r"-null_5\.0-stdout .*seen of a client", log)) for log in logs]
    assert sum(seen) == different == copied <= asked and min(seen) > 10, (seen, done.stdout)
    assert set(steady.statuses()) == {200} and steady.versions() == {("1.0", None)} and steady.unwell == []
    assert serves(place, "1.0")


@pytest.mark.served
@needs_haproxy
def test_scale_changes_each_replica_and_takes_back_what_a_killed_rollout_has_left(place):
    canary.split(place.state.temp, Canary("null", "9.0", 20), running=True)
    done = verb(place, "scale", WORKERS="2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert place.verb("status").stdout.count("2/2 workers ready") == 2
    assert place.state.settings["null"] == {"workers": 2} and splits_nothing(place)

    before = workers(place)
    with Steady(place) as steady:
        done = verb(place, "scale", THREADS="3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(steady.statuses()) == {200} and steady.unwell == []
    assert len(workers(place)) == 4 and not workers(place) & before
    assert [each.describe("null")["customizedMetadata"]["threads"] for each in clients(place)] == [3, 3]
    assert place.state.settings["null"] == {"workers": 2, "threads": 3}
    assert "already runs" in place.verb("serve", REPLICAS="2").stdout


def test_canary_is_a_share():
    assert Bounds.of({"CANARY": "10"}).canary == 10
    with pytest.raises(ServingError, match="CANARY=100 is no share of the requests"):
        Bounds.of({"CANARY": "100"})
