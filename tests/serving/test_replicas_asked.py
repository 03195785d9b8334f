"""REPLICAS, TLS, TLS_CERT, TLS_KEY and BIND: their valid values, the files written for them, and the refusals."""

import dataclasses
import subprocess

import pytest

from serving.config import Config
from serving.errors import ServingError
from serving.replicas import certificate, haproxy, program
from serving.replicas.asked import Asked
from serving.replicas.group import Group
from serving.replicas.haproxy import Balancer, Bounds
from serving.replicas.start import connections
from serving.replicas.tokens import Tokens
from serving.state import RunDirectory
from tests.conftest import free_ports, run, write_config

needs_haproxy = pytest.mark.skipif(program.find() is None, reason="HAProxy is not installed")


@pytest.fixture
def config(tmp_path):
    return Config.load(write_config(tmp_path / "config.properties"))


def changed(config, **properties):
    return Config(config.path, {**config.properties, **properties})


def test_without_variables_there_are_no_replicas(config):
    assert Asked.of({}, config) is None
    assert Asked.of({"REPLICAS": " ", "TLS": "0", "BIND": ""}, config) is None


def test_each_replica_writes_a_request_log_of_its_own(config, tmp_path):
    given = write_config(tmp_path / "logged.properties", request_log="requests.jsonl")
    asked = Asked.of({"REPLICAS": "2"}, Config.load(given))
    group = Group(RunDirectory(tmp_path / "run"), given, asked, [free_ports(5), free_ports(5)])
    files = [replica.config.properties["request_log"] for replica in group.replicas()]
    assert files == [str(tmp_path / f"requests-{number}.jsonl") for number in (1, 2)]


def test_replicas_take_the_address_of_the_config(config):
    asked = Asked.of({"REPLICAS": "3"}, config)
    assert (asked.replicas, asked.url, asked.is_open()) == (3, config.inference, False)
    assert Asked.of({"TLS": "1"}, config).url == config.inference.replace("http://", "https://")
    wide = Asked.of({"BIND": "0.0.0.0", "TLS": "1"}, config)
    assert wide.is_open() and wide.url.startswith("https://127.0.0.1:")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"REPLICAS": "0"}, "REPLICAS=0 is no number from 1 to 32"),
        ({"REPLICAS": "many"}, "REPLICAS=many is no number"),
        ({"TLS": "yes"}, "TLS=yes is neither 1 nor 0"),
        ({"BIND": "example.org", "TLS": "1"}, "BIND=example.org is no IP address"),
        ({"BIND": "0.0.0.0"}, "BIND=0.0.0.0 opens the server to other machines, so it needs TLS"),
        ({"BIND": "::", "REPLICAS": "2"}, "needs TLS"),
        ({"TLS_CERT": "c.pem"}, "add TLS_KEY="),
        ({"TLS_CERT": "/none.pem", "TLS_KEY": "/none.pem"}, "TLS_CERT=/none.pem cannot be read"),
    ],
    ids=str,
)
def test_an_invalid_variable_is_named_with_its_cure(config, given, said):
    with pytest.raises(ServingError, match=said):
        Asked.of(given, config)


def test_an_open_server_needs_tokens_and_tls_whoever_opens_it(config):
    with pytest.raises(ServingError, match="needs tokens; write disable_token_authorization=false"):
        Asked.of({"BIND": "0.0.0.0", "TLS": "1"}, changed(config, disable_token_authorization="true"))
    with pytest.raises(ServingError, match=r"inference_address=http://0\.0\.0\.0:8080 opens .* needs TLS"):
        Asked.of({"REPLICAS": "2"}, changed(config, inference_address="http://0.0.0.0:8080"))


def test_make_serve_refuses_an_open_address_in_one_sentence(tmp_path, null_store):
    place = {"CONFIG": str(write_config(tmp_path / "c.properties")), "RUN_DIR": str(tmp_path / "run")}
    refused = run("serving", "serve", **place, MODEL_STORE=str(null_store), MODELS="", VARIANTS="", BIND="0.0.0.0")
    assert refused.returncode == 1 and refused.stdout == ""
    assert refused.stderr.startswith("BIND=0.0.0.0 opens") and refused.stderr.count("\n") == 1


def test_without_haproxy_one_sentence_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(program, "PLACES", "/none")
    monkeypatch.setenv("PATH", "/none")
    with pytest.raises(ServingError, match="HAProxy, which is not installed; run: apt-get install haproxy"):
        haproxy.program()


def test_a_certificate_and_the_key_of_another_are_refused(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        certificate.self_made(tmp_path / name, "127.0.0.1")
    first, other = tmp_path / "a" / "certificate.pem", tmp_path / "b" / "key.pem"
    assert certificate.joined(first, tmp_path / "a" / "key.pem").count("-----BEGIN") == 2
    with pytest.raises(ServingError, match=r"unencrypted private key \(key values mismatch\)"):
        certificate.joined(first, other)
    sealed = tmp_path / "sealed.pem"
    subprocess.run(["openssl", "ec", "-in", other, "-aes128", "-passout", "pass:x123", "-out", sealed], check=True)
    with pytest.raises(ServingError, match="unencrypted private key"):
        certificate.joined(tmp_path / "b" / "certificate.pem", sealed)


SERVERS = ["127.0.0.1:3", "127.0.0.1:4"]


def balancer(bind="127.0.0.1:1"):
    bounds = [Bounds("null", 100)]
    return Balancer(bind, "127.0.0.1:5", "127.0.0.1:2", "", SERVERS, SERVERS, bounds, 1000, 180, "t" * 64)


@needs_haproxy
def test_a_config_that_haproxy_refuses_never_takes_the_place_of_a_good_one(tmp_path):
    directory = RunDirectory(tmp_path)
    haproxy.folder(directory).mkdir()
    assert haproxy.write_config(directory, str(tmp_path), balancer())
    good = haproxy.config_file(directory).read_text()
    assert not haproxy.write_config(directory, str(tmp_path), balancer())
    with pytest.raises(ServingError, match=r"HAProxy .* refuses its config"):
        haproxy.write_config(directory, str(tmp_path), balancer(bind="nowhere.invalid:1"))
    assert haproxy.config_file(directory).read_text() == good
    assert good.count("maxconn 100\n") == 2 and "timeout server 180s" in good and "Bearer " + "t" * 64 in good
    assert good.count(" proto h2") == 3, "the port of clients, and a server of each replica"


@needs_haproxy
def test_haproxy_starts_where_few_files_may_be_open(tmp_path, monkeypatch, config):
    assert connections(changed(config, max_connections="500")) == 500
    monkeypatch.setattr("resource.getrlimit", lambda kind: (1024, 1024))
    few = connections(config)
    assert 200 < few < 512
    directory = RunDirectory(tmp_path)
    haproxy.folder(directory).mkdir()
    for most, ends in ((few, "runs"), (1000, "Cannot raise FD limit")):
        one, grpc, other = (f"127.0.0.1:{port}" for port in free_ports(3))
        balanced = dataclasses.replace(
            balancer(one), grpc=grpc, metrics=other, connections=most, addresses=[], grpc_addresses=[]
        )
        haproxy.write_config(directory, str(tmp_path), balanced)
        command = f"ulimit -n 1024; timeout 1 {haproxy.program()} -db -f {haproxy.config_file(directory)}; echo runs"
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
        assert ("Cannot raise FD limit" in done.stderr) == (ends != "runs"), done.stderr


def test_a_token_is_replaced_when_its_time_is_over_and_stays_valid_as_long_again(tmp_path, config):
    tokens = Tokens(tmp_path, changed(config, token_expiration_min="0.0"))
    tokens.make()
    first, balancers = tokens.present.read_text().strip(), tokens.balancers()
    known = tokens.valid.read_text().splitlines()
    tokens.refresh()
    second = tokens.present.read_text().strip()
    valid = tokens.valid.read_text().splitlines()
    assert second != first and second in known  # to the replicas, before a client gets it
    assert valid[:2] == [second, first] and valid[3:] == [balancers] and valid[2] not in known
    assert {path.stat().st_mode & 0o777 for path in (tokens.present, tokens.valid)} == {0o600}
    tokens.refresh()
    assert valid[2] == tokens.present.read_text().strip()
    assert first not in tokens.valid.read_text()


def test_the_operators_own_tokens_are_valid_too_and_changes_are_taken_over(tmp_path, config):
    mine = tmp_path / "mine"
    mine.write_text("m" * 32 + "\n")
    tokens = Tokens(tmp_path, changed(config, inference_token_file=str(mine)))
    tokens.make()
    now = tokens.present.read_text()
    assert tokens.valid.read_text().splitlines()[4:] == ["m" * 32]
    mine.write_text("n" * 32 + "\n")
    tokens.refresh()
    assert tokens.valid.read_text().splitlines()[4:] == ["n" * 32] and tokens.present.read_text() == now


def test_where_tokens_are_off_none_is_made(tmp_path, config):
    tokens = Tokens(tmp_path, changed(config, disable_token_authorization="true"))
    tokens.make()
    tokens.refresh()
    assert tokens.balancers() == "" and not tokens.present.exists()
