"""Locust and the runner against a real TorchServe with the null archive."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from loadtest.load import rows
from loadtest.load.trace import read
from serving.client import Client
from serving.config import Config
from serving.state import RunDirectory
from tests.conftest import ROOT, free_ports, run, write_config
from tests.loadtest.load.test_trace import AZURE
from tests.trust.place import eventually

pytestmark = pytest.mark.served


@pytest.fixture(scope="module", autouse=True)
def null_alone(null_store):
    """Makes the store with ``null`` alone the default."""
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("MODEL_STORE", str(null_store))
        yield


@pytest.fixture(scope="module")
def null_server(tmp_path_factory):
    """(the server's variables, its address). A clean stop is asserted at the end."""
    folder = tmp_path_factory.mktemp("loadtest")
    variables = {"CONFIG": str(write_config(folder / "config.properties")), "RUN_DIR": str(folder / "run")}
    started = run("serving", "serve", MODELS="null", VARIANTS="", **variables)
    assert started.returncode == 0, started.stdout + started.stderr
    config, state = Config.load(Path(variables["CONFIG"])), RunDirectory(folder / "run").read()
    try:
        yield variables, config.inference
    finally:
        stopped = run("serving", "stop", **variables)
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert state.processes() == []
    assert all(not answers(port) for port in state.ports)


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


LOCUST = (sys.executable, "-m", "locust", "-f", "loadtest/locustfile.py", "--host")


def locust(variables, host, *more):
    return subprocess.run(
        [*LOCUST, host, "--headless", "--only-summary", *more],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("processes", [(), ("--processes", "2")], ids=["one process", "two workers"])
def test_locust_runs_headless_and_its_rows_are_exactly_its_requests(null_server, tmp_path, processes):
    variables, host = null_server
    done = locust(
        variables, host, "-u", "4", "-r", "4", "-t", "2s", "--rows", str(tmp_path / "rows.csv.gz"), "--json", *processes
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (counted,) = map(int, re.findall(r'"num_requests": (\d+)', done.stdout))  # workers print an empty list each
    written = rows.read(tmp_path / "rows.csv.gz")
    assert len(written) == counted > 100
    assert written == rows.merge([written])
    assert {row.error for row in written} == {""} and all(row.inference_us >= 0 for row in written)
    assert sum(row.checked for row in written) == pytest.approx(counted / 10, abs=3)


def test_locust_asks_over_grpc(null_server, tmp_path):
    variables, host = null_server
    done = locust(variables, host, "-u", "4", "-r", "4", "-t", "3s", "--rows", str(tmp_path / "rows.csv.gz"), "--json",
                  "--protocol", "grpc")  # fmt: skip
    assert done.returncode == 0 and '"method": "gRPC"' in done.stdout, done.stderr[-2000:]
    written = rows.read(tmp_path / "rows.csv.gz")
    assert written and written[0].checked
    assert {row.error for row in written} == {""} and {row.inference_us for row in written} == {rows.UNKNOWN}


def test_an_error_over_grpc_counts_as_the_same_error_over_http(null_server):
    variables, host = null_server
    code = """
import sys, loadtest.load.users as users
from loadtest.measure.servers import grpc_address
from loadtest.load.target import Target, Token
from loadtest.load.payloads import Payload
host, good, free = sys.argv[1:]
text, none, large = (Payload("x", body, "text/plain") for body in (b"hi", b"", bytes(17 << 20)))
for archive, token, address, payload in (
    ("null", good, grpc_address(host), text), ("null", "wrong", grpc_address(host), text),
    ("none", good, grpc_address(host), text), ("null", good, grpc_address(host), none),
    ("null", good, grpc_address(host), large), ("null", good, f"127.0.0.1:{free}", text),
):
    known = Target(host, "null", Token(lambda: token), grpc=address)
    known.archive = archive
    reply, error = users.sender(known).send(payload)
    print(users.error_kind(reply, error) if error else "answered")
"""
    token = Client(Config.load(Path(variables["CONFIG"])), RunDirectory(Path(variables["RUN_DIR"])).key_file).token()
    done = subprocess.run(
        [sys.executable, "-c", code, host, token, str(free_ports(1)[0])],
        cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.split() == ["answered", "token", "404", "400", "413", "connection"], done.stderr
    refused = run("loadtest", HOST="https://127.0.0.1:1", TOKEN="x", MODELS="null", PROTOCOL="grpc", **variables)
    assert refused.returncode == 2 and "gRPC is asked without TLS" in refused.stderr


def test_locust_without_a_token_says_so(null_server, tmp_path):
    _, host = null_server
    variables = {"CONFIG": str(write_config(tmp_path / "config.properties")), "RUN_DIR": str(tmp_path / "nowhere")}
    done = locust({**variables, "ARCHIVES": "null"}, host, "-u", "1", "-t", "2s")
    assert done.returncode != 0 and "There is no token" in done.stderr


def test_locusts_web_ui_starts_a_run_and_shows_its_requests(null_server):
    variables, host = null_server
    (port,) = free_ports(1)
    ui = f"http://127.0.0.1:{port}"
    web = ["--web-host", "127.0.0.1", "--web-port", str(port)]
    with subprocess.Popen([*LOCUST, host, *web], cwd=ROOT, env={**os.environ, **variables}) as process:
        try:
            eventually(lambda: answers(port))
            assert "archives" in requests.get(ui, timeout=10).text
            form = {"user_count": 2, "spawn_rate": 2, "host": host}
            assert requests.post(f"{ui}/swarm", data=form, timeout=10).json()["success"]

            def total():
                stats = requests.get(f"{ui}/stats/requests", timeout=10).json()["stats"]
                return next(row for row in stats if row["name"] == "Aggregated")

            eventually(lambda: total()["num_requests"] > 20)
            assert total()["num_failures"] == 0
        finally:
            process.terminate()


def test_a_running_server_is_measured_by_its_address_and_a_token_and_compared_with_a_baseline(null_server, tmp_path):
    variables, host = null_server
    client = Client(Config.load(Path(variables["CONFIG"])), RunDirectory(Path(variables["RUN_DIR"])).key_file)
    settings = {
        "HOST": host, "TOKEN": client.token(), "MODELS": "null", "CONCURRENCY": "2", "DURATION": "0.6", "ROUNDS": "1",
        "CONFIG": variables["CONFIG"], "RUN_DIR": str(tmp_path / "other"),
    }  # fmt: skip

    def measure(name, **more):
        done = run("loadtest", RESULTS=str(tmp_path / name), timeout=120, **settings, **more)
        (folder,) = (tmp_path / name).glob("2*")
        return done, folder / "summary.json"

    done, path = measure("first", PROCESSES="2")
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(path.read_text())
    (row,) = summary["rows"]
    (trial,) = json.loads(path.with_name("run.json").read_text())["trials"]
    assert trial["processes"] == 2 and "PROCESSES=2" in summary["environment"]["command"]
    assert row["concurrency"] == 2 and row["errors"] == 0 and row["answers_checked"] > 0
    # The gate passes a faster server than the baseline and fails a slower one, whatever this machine's noise.
    for factor, status in ((10, 0), (0.1, 1)):
        baseline = tmp_path / f"baseline-{status}.json"
        baseline.write_text(json.dumps({**summary, "rows": [slower(row, factor)]}))
        done, path = measure(f"against-{status}", BASELINE=str(baseline))
        assert done.returncode == status, done.stdout + done.stderr
        assert ("FAIL" in done.stdout) == bool(status)
        verdicts = {each["metric"]: each["verdict"] for each in json.loads(path.read_text())["comparisons"]}
        assert verdicts["p50_ms"] == verdicts["requests_per_s"] == ("worse" if status else "better")


def test_a_running_server_is_measured_over_grpc(null_server, tmp_path):
    variables, host = null_server
    client = Client(Config.load(Path(variables["CONFIG"])), RunDirectory(Path(variables["RUN_DIR"])).key_file)
    settings = {
        "HOST": host, "TOKEN": client.token(), "MODELS": "null", "CONCURRENCY": "2", "DURATION": "0.6", "ROUNDS": "1",
        "CONFIG": variables["CONFIG"], "RUN_DIR": str(tmp_path / "other"), "PROCESSES": "2", "PROTOCOL": "grpc",
    }  # fmt: skip
    done = run("loadtest", RESULTS=str(tmp_path / "results"), timeout=120, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (tmp_path / "results").glob("2*")
    summary = json.loads((folder / "summary.json").read_text())
    (row,) = summary["rows"]
    assert summary["profile"]["protocol"] == "grpc" and "PROTOCOL=grpc" in summary["environment"]["command"]
    assert row["errors"] == 0 and row["requests"] > 0
    assert "was loaded over gRPC by a closed loop" in (folder / "report.html").read_text()


def test_http_and_grpc_are_compared_request_by_request(null_server, tmp_path):
    variables, host = null_server
    client = Client(Config.load(Path(variables["CONFIG"])), RunDirectory(Path(variables["RUN_DIR"])).key_file)
    settings = {"HOST": host, "TOKEN": client.token(), "MODELS": "null", "VARIANTS": "", "CONFIG": variables["CONFIG"]}
    done = run("loadtest.comparisons.protocols", REQUESTS="20", RUN_DIR=str(tmp_path / "other"), **settings)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\| http \| [\d.]+ \|.*\n\| grpc \| [\d.]+ \| .* – \|$", done.stdout, re.MULTILINE), done.stdout
    assert "20 requests over each, in turns" in done.stdout and "gRPC takes" in done.stdout


def test_a_recorded_hour_is_replayed_faster_and_its_goodput_is_the_objectives(null_server, tmp_path):
    variables, host = null_server
    client = Client(Config.load(Path(variables["CONFIG"])), RunDirectory(Path(variables["RUN_DIR"])).key_file)
    (tmp_path / "trace.csv").write_text(AZURE)
    settings = {
        "HOST": host, "TOKEN": client.token(), "MODELS": "null", "RATE": "8", "ROUNDS": "1",
        "TRACE": str(tmp_path / "trace.csv"), "CONFIG": variables["CONFIG"], "RUN_DIR": str(tmp_path / "other"),
    }  # fmt: skip
    for limit, status in (("10000", 0), ("0.001", 1)):
        done = run("loadtest", RESULTS=str(tmp_path / limit), SLO_P99_MS=limit, timeout=120, **settings)
        assert done.returncode == status, done.stdout + done.stderr
        assert f"{'0' if status else '12'} of 12 requests answered within {limit} ms" in done.stdout
        (folder,) = (tmp_path / limit).glob("2*")
        summary = json.loads((folder / "summary.json").read_text())
        assert str(tmp_path) not in (folder / "summary.json").read_text() + (folder / "report.html").read_text()
        (row,) = summary["rows"]
        assert (row["purpose"], row["rate"], row["requests"]) == ("trace", 8.0, 12) and row["answers_checked"] > 0
        assert row["goodput"]["share"] == 1 - status and "trace" in (folder / "report.md").read_text()
        (path,) = (folder / "rows").glob("*trace*")
        due = [each.intended_us for each in rows.read(path)]
        recorded = read(tmp_path / "trace.csv").at(8).arrivals_us
        assert [each - due[0] for each in due] == recorded.tolist()


def slower(row, factor):
    """The row of a server that takes ``factor`` times as long."""
    changed = {name: row[name] * factor for name in ("p50_ms", "p99_ms") if row[name]}
    changed |= {name: [value * factor for value in row[name]] for name in ("p50_ci_ms", "p99_ci_ms") if row[name]}
    return {**row, **changed, "windows_requests_per_s": [value / factor for value in row["windows_requests_per_s"]]}


def test_the_runner_starts_measures_stops_and_its_exit_status_is_the_objectives(tmp_path):
    variables = {"CONFIG": str(write_config(tmp_path / "config.properties")), "RUN_DIR": str(tmp_path / "run")}
    done = run(
        "loadtest",
        MODELS="null",
        RATE="200",
        SLO_P99_MS="0.001",
        ROUNDS="1",
        DURATION="1.8",
        RESULTS=str(tmp_path / "results"),
        timeout=180,
        **variables,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAIL" in done.stdout and "objective is 0.001 ms" in done.stdout and "open loop" in done.stderr
    (folder,) = (tmp_path / "results").glob("2*")
    summary = json.loads((folder / "summary.json").read_text())
    (row,) = summary["rows"]
    assert row["mode"] == "open" and row["rate"] == 200 and row["slo"]["met"] is False
    assert len(summary["archives"]["null"]["sha256"]) == 64 and summary["environment"]["packages"]["locust"]
    assert str(ROOT) not in (folder / "summary.json").read_text() + (folder / "report.html").read_text()
    assert (folder / "report.md").read_text().startswith("# Load test")
    assert RunDirectory(tmp_path / "run").read() is None
    assert not any(answers(port) for port in Config.load(Path(variables["CONFIG"])).ports())


@pytest.mark.parametrize(
    ("variables", "cure"),
    [
        ({"MODELS": "nope"}, "known"),
        ({"RATE": "x"}, "RATE=50"),
        ({"BASELINE": "none.json"}, "summary.json"),
        ({"HOST": "127.0.0.1"}, "HOST=http"),
        ({"PROCESSES": "9999"}, "more than the"),
        ({"TRACE": "README.md"}, "TRACE README.md has the columns"),
    ],
)
def test_a_user_error_is_one_sentence(variables, cure, tmp_path):
    done = run("loadtest", RESULTS=str(tmp_path), **variables)
    assert done.returncode == 2 and cure in done.stderr and "Traceback" not in done.stderr


def test_a_missing_archive_is_named_before_anything_is_measured(null_store, null_server, tmp_path):
    variables, _ = null_server
    for path in null_store.glob("null.mar*"):
        shutil.copy(path, tmp_path)
    folders = {"MODEL_STORE": str(tmp_path), "RESULTS": str(tmp_path / "new")}
    asked = {"MODELS": "null bert", "VARIANTS": "frozen", **folders}
    done = subprocess.run(
        [sys.executable, "-m", "loadtest"], cwd=ROOT, env={**os.environ, **variables, **asked},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.endswith(' lacks bert-frozen; run: make archive MODELS="bert" VARIANTS="frozen"\n'), done.stderr
    assert not (tmp_path / "new").exists()


def test_workers_are_compared_in_turns_on_one_server(tmp_path):
    variables = {"CONFIG": str(write_config(tmp_path / "config.properties")), "RUN_DIR": str(tmp_path / "run")}
    asked = {"WORKERS": "1,2", "CONCURRENCY": "2", "DURATION": "0.5", "MODELS": "null"}
    compared = run("loadtest.comparisons.workers", **asked, **variables)
    assert compared.returncode == 0, compared.stdout + compared.stderr
    lines = [line.strip("| ").split(" | ") for line in compared.stdout.splitlines() if re.match(r"\| \d", line)]
    assert [line[:2] for line in lines] == [["1", "2"], ["2", "2"]]
    assert all(float(line[4]) > 0 for line in lines)
    assert int(lines[0][6]) < int(lines[1][6])  # a second worker was there


def test_where_a_requests_time_goes(tmp_path):
    variables = {"CONFIG": str(write_config(tmp_path / "config.properties")), "RUN_DIR": str(tmp_path / "run")}
    shown = run("loadtest.comparisons.breakdown", CONCURRENCY="1,4", DURATION="0.5", MODELS="null", **variables)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    lines = [line.strip("| ").split(" | ") for line in shown.stdout.splitlines() if line.startswith("|")]
    loads, kinds, spent = lines[2:4], lines[4], lines[6:]
    for clients, load in zip(("1", "4"), loads, strict=True):
        assert load[0] == clients and float(load[1].replace(",", "")) > 0 and load[2] == "0"
        assert float(load[3]) >= sum(map(float, load[5:8]))  # the stages are parts of the latency
    assert {"client", "Java: sockets", "Java: a worker's thread", "worker: main thread"} <= set(kinds)
    assert [row[0] for row in spent] == ["1", "4"] and all(float(row[kinds.index("client")]) > 0 for row in spent)


def test_flame_graphs_without_py_spy_are_one_sentence(tmp_path):
    """Ray installs py-spy, so the program gets another interpreter without py-spy beside it."""
    python = str(tmp_path / "python")
    elsewhere = (
        f"import sys; sys.executable = {python!r}\n"
        "from loadtest.comparisons.breakdown import main; sys.exit(main())"
    )
    environment = {**os.environ, "FLAMES": str(tmp_path), "MODELS": "null", "PATH": str(tmp_path)}
    command = [sys.executable, "-c", elsewhere]
    refused = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    sentence = "py-spy is not installed, and FLAMES needs it; run: .venv/bin/pip install py-spy\n"
    assert refused.returncode == 2 and refused.stderr == sentence and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("workers", ["one", "0,1", ","])
def test_a_wrong_number_of_workers_is_one_sentence(workers):
    refused = run("loadtest.comparisons.workers", WORKERS=workers)
    assert refused.returncode == 2 and refused.stderr.startswith(f"WORKERS is '{workers}'; write numbers above 0")
