"""The settings of traces and of the request log: read, checked, and off by default. test_traces.py serves with them."""

import pytest

from serving import tracing
from serving.config import Config
from serving.errors import ServingError
from serving.request_log import Printer, RequestLog
from serving.tracing import ARGUMENT, BASE, EXACT, SAMPLER, Tracing
from tests.conftest import ROOT

URL = "http://collector:4318"


def test_both_are_off_by_default(tmp_path):
    config = Config.load(ROOT / "config.properties")
    assert Tracing.of(config.properties, {}) is None
    assert RequestLog.of(config.properties, tmp_path, tmp_path) is None


@pytest.mark.parametrize(
    ("properties", "environment", "endpoint", "ratio"),
    [
        ({"trace_endpoint": URL}, {}, f"{URL}/v1/traces", 1),
        ({"trace_endpoint": f"{URL}/"}, {BASE: "http://other"}, f"{URL}/v1/traces", 1),
        ({"trace_endpoint": f"{URL}/own/path"}, {}, f"{URL}/own/path", 1),
        ({"trace_endpoint": URL, "trace_ratio": "0.25"}, {SAMPLER: "parentbased_always_off"}, f"{URL}/v1/traces", 0.25),
        ({}, {BASE: URL}, None, 1),
        ({}, {EXACT: f"{URL}/v1/traces", SAMPLER: "parentbased_traceidratio", ARGUMENT: "0.5"}, None, 0.5),
        ({}, {BASE: URL, SAMPLER: "parentbased_always_off", ARGUMENT: "0.5"}, None, 0),
    ],
)
def test_the_collector_and_the_share_are_the_properties_or_opentelemetrys(properties, environment, endpoint, ratio):
    found = Tracing.of(properties, environment)
    assert found == Tracing(ratio, {EXACT: endpoint} if endpoint else {})  # the SDK reads the variables itself


@pytest.mark.parametrize("off", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_opentelemetrys_own_switches_turn_its_variables_off_and_not_the_property(off):
    assert Tracing.of({}, {BASE: URL, **off}) is None
    assert Tracing.of({"trace_endpoint": URL}, off)


@pytest.mark.parametrize(
    ("properties", "environment", "says"),
    [
        ({"trace_endpoint": "collector:4318"}, {}, "trace_endpoint=collector:4318 is no URL; write one, as in"),
        ({}, {BASE: "4318"}, f"{BASE}=4318 is no URL"),
        ({"trace_endpoint": URL, "trace_ratio": "2"}, {}, "trace_ratio=2 is no share of requests; write one from 0"),
        ({"trace_endpoint": URL, "trace_ratio": "nan"}, {}, "trace_ratio=nan is no share"),
        ({}, {BASE: URL, SAMPLER: "parentbased_traceidratio", ARGUMENT: "some"}, f"{ARGUMENT}=some is no share"),
        ({}, {BASE: URL, SAMPLER: "jaeger_remote"}, f"{SAMPLER}=jaeger_remote is not known here; write one of"),
    ],
)
def test_wrong_settings_of_traces_are_refused_with_the_cure(properties, environment, says):
    with pytest.raises(ServingError, match=says):
        Tracing.of(properties, environment)


@pytest.mark.parametrize("missing", ["no_such_package.sdk", "opentelemetry.no_such_module"])
def test_without_opentelemetry_traces_are_refused_with_the_command_that_installs_it(monkeypatch, missing):
    monkeypatch.setattr(tracing, "PACKAGES", ("json", missing))
    with pytest.raises(ServingError, match=r"pip install -c constraints\.txt opentelemetry-sdk"):
        Tracing.of({"trace_endpoint": URL}, {})


@pytest.mark.parametrize(
    ("properties", "says"),
    [
        ({"request_log_megabytes": "0"}, "request_log_megabytes=0 is no number of MiB; write 1 or more"),
        ({"request_log_megabytes": "much"}, "request_log_megabytes=much is no number"),
        ({"request_log_clients": "yes"}, "request_log_clients=yes is neither true nor false"),
        ({"request_log": "no/such/folder/log"}, "request_log=.*/no/such/folder/log cannot be written .No such file"),
        ({"request_log": "."}, "cannot be written .Is a directory"),
    ],
)
def test_wrong_settings_of_the_log_are_refused_with_the_cure(tmp_path, properties, says):
    with pytest.raises(ServingError, match=says):
        RequestLog.of({"request_log": "log", **properties}, tmp_path, tmp_path).check()


def test_the_front_end_is_told_of_the_log_and_torchserve_is_not(tmp_path):
    config = tmp_path / "config.properties"
    config.write_text("request_log=a log\nrequest_log_megabytes=2\nrequest_log_clients=true\ntrace_ratio=1\n")
    loaded = Config.load(config)
    log = RequestLog.of(loaded.properties, tmp_path, tmp_path / "logs")
    assert (log.path, log.size, log.clients, log.printed) == (tmp_path / "a log", 2 << 20, True, False)
    text = loaded.effective(tmp_path, 4, options=log.java_options())
    assert f"vmargs=-Dfrontend.requestLog={tmp_path}/a%20log -Dfrontend.requestLogBytes=2097152" in text
    assert "request_log" not in text and "trace_ratio" not in text


def test_lines_are_printed_once_also_across_a_renamed_file(tmp_path, capfdbinary):
    path, printer = tmp_path / "log", Printer(tmp_path / "log")
    printer.show()  # there is no file yet
    path.write_bytes(b"one\n")
    printer.show()
    with path.open("ab") as file:
        file.write(b"two\n")
    path.rename(tmp_path / "log.1")
    path.write_bytes(b"three\n")
    printer.show()
    printer.show()
    assert capfdbinary.readouterr().out == b"one\ntwo\nthree\n"
