"""Settings with Ray Serve: each key of config.properties and models.toml is honoured, is reported to have no effect, or
is refused by name."""

from __future__ import annotations

import pytest

from deploy.ray.settings import COMMITTED, ONLY, TAKEN, WITHOUT_EFFECT, check, watch
from serving.config import Config
from serving.errors import ServingError
from serving.model_settings import KEYS
from serving.plan import Plan
from tests.conftest import ROOT

COMMITTED_FILE = Config.load(ROOT / "config.properties")
# Comments of the file that show a setting: "#request_log=requests.jsonl".
SHOWN = dict(line[1:].split("=", 1) for line in (ROOT / "config.properties").read_text().splitlines()
             if line.startswith("#") and "=" in line and " " not in line)  # fmt: skip


def config(tmp_path, **properties):
    path = tmp_path / "config.properties"
    path.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
    return Config.load(path)


def plan(tmp_path, **settings):
    return Plan(tmp_path, {"null": "0" * 64}, settings={"null": settings} if settings else {})


def test_the_committed_file_is_accepted_and_keys_without_effect_are_named(tmp_path):
    (notice,) = check(COMMITTED_FILE, plan(tmp_path))
    named = set(notice.partition(":")[0].split(", "))
    assert named == COMMITTED_FILE.properties.keys() - TAKEN - (ONLY.keys() - COMMITTED.keys())
    assert {"vmargs", "management_address", "grpc_inference_port", "fair_queue", "max_connections"} <= named
    assert COMMITTED.items() <= COMMITTED_FILE.properties.items()
    assert SHOWN.keys() <= TAKEN


@pytest.mark.parametrize("key", sorted({*COMMITTED_FILE.properties, *SHOWN, "certificate_file", "cors_allowed_origin",
                                        "default_workers_per_model", "metrics_config", "no_such_key"}))  # fmt: skip
def test_a_key_that_is_changed_is_honoured_named_or_refused(tmp_path, key):
    changed = config(tmp_path, **{key: "http://0.0.0.0:9" if key.endswith("_address") else "7"})
    if key in TAKEN:
        assert check(changed, plan(tmp_path)) == []
    elif key in WITHOUT_EFFECT and not key.endswith("_address"):
        assert check(changed, plan(tmp_path)) == [f"{key}: no effect with Ray Serve (docs/ray.md)"]
    else:
        with pytest.raises(ServingError, match=f"config.properties: {key}=.*: Ray Serve .* remove the line"):
            check(changed, plan(tmp_path))


@pytest.mark.parametrize("key", sorted(KEYS))
def test_one_key_of_models_toml_is_refused(tmp_path, key):
    given = plan(tmp_path, **{key: 1})
    if key == "startup_timeout_s":
        with pytest.raises(ServingError, match=r"models\.toml: startup_timeout_s of null: with Ray Serve"):
            check(COMMITTED_FILE, given)
    else:
        check(COMMITTED_FILE, given)


def test_a_front_gets_the_settings_of_log_traces_and_metrics(tmp_path):
    pytest.importorskip("opentelemetry.sdk", reason="comes with the extra 'tracing'")
    given = config(tmp_path, request_log="log", request_log_clients="true", metrics_address="http://0.0.0.0:9090")
    assert watch(given, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, None) == {
        "metrics": {"host": "0.0.0.0", "port": 9090},
        "log": {"path": str(tmp_path / "log"), "most": 100 << 20, "clients": True},
        "traces": {"ratio": 1.0, "environment": {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}},
    }
    own = watch(config(tmp_path, trace_endpoint="http://other:4318", trace_ratio="0.1"), {}, None)["traces"]
    assert own == {"ratio": 0.1, "environment": {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://other:4318/v1/traces"}}
    assert watch(config(tmp_path), {}, None) == {"metrics": {"host": "127.0.0.1", "port": 8082}}


def test_settings_that_a_cluster_or_ray_lacks_are_refused(tmp_path):
    with pytest.raises(ServingError, match="request_log=-: on a cluster nobody would see it; name a file"):
        watch(config(tmp_path, request_log="-"), {}, None)
    assert watch(config(tmp_path, request_log="-"), {}, tmp_path)["log"]["path"] == str(tmp_path / "requests.jsonl")
    with pytest.raises(ServingError, match=r"metrics_address=https://127\.0\.0\.1:1: Ray Serve has no TLS here"):
        watch(config(tmp_path, metrics_address="https://127.0.0.1:1"), {}, None)
