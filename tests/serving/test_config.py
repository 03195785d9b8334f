"""config.properties is read, completed, and bound to loopback."""

from pathlib import Path

import pytest

from serving.config import Config
from serving.errors import ServingError
from serving.worker_log import failure, root_cause
from tests.conftest import ROOT


def test_the_checkouts_config_binds_loopback_with_tokens_on_and_the_model_api_off():
    config = Config.load(ROOT / "config.properties")
    assert all("127.0.0.1" in config.properties[key] for key in config.properties if key.endswith("_address"))
    assert config.properties["disable_token_authorization"] == "false"
    assert config.properties["enable_model_api"] == "false"
    assert sorted(config.ports()) == [7070, 7071, 8080, 8081, 8082]


def test_java_keeps_the_messages_of_exceptions_that_it_throws_often():
    """Without the messages, the 8,608th request with a target of "?x" gets a 400 without one; a test cannot send so
    many."""
    assert "-XX:-OmitStackTraceInFastThrow" in Config.load(ROOT / "config.properties").properties["vmargs"].split()


def test_the_store_is_the_only_allowed_source():
    text = Config.load(ROOT / "config.properties").effective(Path("/a store/x+y"), 4)
    assert "model_store=/a store/x+y\n" in text
    assert "allowed_urls=file:///a\\\\ store/x\\\\+y/.*\n" in text


@pytest.mark.parametrize(
    ("vmargs", "cores", "expected"),
    [
        ("-Xms1g", 2, "-Xms1g -XX:TieredStopAtLevel=1"),
        ("-Xms1g", 4, "-Xms1g"),
        ("-XX:TieredStopAtLevel=3", 1, "-XX:TieredStopAtLevel=3"),
        ("", 1, "-XX:TieredStopAtLevel=1"),
    ],
)
def test_java_compiles_little_where_cores_are_few(tmp_path, vmargs, cores, expected):
    (tmp_path / "config.properties").write_text(f"vmargs={vmargs}\n")
    assert f"vmargs={expected}\n" in Config.load(tmp_path / "config.properties").effective(Path("/store"), cores)


@pytest.mark.parametrize(
    ("vmargs", "expected"),
    [
        ("-Xmx1g", "-Xmx1g -Dfrontend.requestBytes=536870912 -XX:MaxDirectMemorySize=1073741824"),
        ("-Xmx64m -Xmx128M -Xms1m", "{} -Dfrontend.requestBytes=67108864 -XX:MaxDirectMemorySize=134217728"),
        ("-Xmx1g -XX:MaxDirectMemorySize=9g", "{} -Dfrontend.requestBytes=536870912"),
        ("", ""),
    ],
)
def test_the_bytes_of_requests_at_hand_follow_from_the_heap(tmp_path, vmargs, expected):
    (tmp_path / "config.properties").write_text(f"vmargs={vmargs}\n")
    text = Config.load(tmp_path / "config.properties").effective(Path("/store"), 4)
    assert f"vmargs={expected.format(vmargs)}\n" in text


def test_a_heap_too_small_for_the_largest_request_is_refused_with_the_cure(tmp_path):
    (tmp_path / "config.properties").write_text("vmargs=-Xmx63m\nmax_request_size=16777216\n")
    with pytest.raises(ServingError, match=r"-Xmx63m .* too little for max_request_size=16777216.*-Xmx64m or more"):
        Config.load(tmp_path / "config.properties").effective(Path("/store"), 4)


@pytest.mark.parametrize("value", ["true", "false"])
def test_fair_queue_is_passed_to_the_front_end_and_not_to_torchserve(tmp_path, value):
    (tmp_path / "config.properties").write_text(f"fair_queue={value}\n")
    text = Config.load(tmp_path / "config.properties").effective(Path("/store"), 4)
    assert f"-Dfrontend.fair={value}\n" in text and "fair_queue" not in text


def test_max_connections_is_passed_to_the_front_end_and_not_to_torchserve(tmp_path):
    (tmp_path / "config.properties").write_text("max_connections=500\n")
    text = Config.load(tmp_path / "config.properties").effective(Path("/store"), 4)
    assert "-Dfrontend.connections=500\n" in text and "max_connections" not in text


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("disable_system_metrics=true", "metrics_config=/ours"),
        ("disable_system_metrics=false", None),
        ("disable_system_metrics=true\nmetrics_config=/theirs", "metrics_config=/theirs"),
    ],
)
def test_torchserves_metrics_are_those_that_it_fills_or_the_users(tmp_path, lines, expected):
    (tmp_path / "config.properties").write_text(f"{lines}\n")
    text = Config.load(tmp_path / "config.properties").effective(Path("/store"), 4, "/ours")
    assert [line for line in text.splitlines() if "metrics_config" in line] == ([expected] if expected else [])


@pytest.mark.parametrize(
    "line",
    [
        "fair_queue=maybe",
        "open_ping=maybe",
        "max_request_size=much\nvmargs=-Xmx1g",
        "max_connections=much",
        "max_connections=15",
    ],
)
def test_an_invalid_setting_of_the_front_end_is_refused(tmp_path, line):
    (tmp_path / "config.properties").write_text(f"{line}\n")
    with pytest.raises(ServingError, match=r"maybe is neither true nor|much is no number|15 is too few; write 16"):
        Config.load(tmp_path / "config.properties").effective(Path("/store"), 4)


def test_ping_is_open_and_tokens_are_mounted_by_choice(tmp_path):
    file, config = tmp_path / "a b+c%", tmp_path / "config.properties"
    file.write_text(f"{'x' * 32}\n\n{'+/=~' * 8}\n")
    config.write_text(f"open_ping=true\ninference_token_file={file.name}\n")
    text = Config.load(config).effective(Path("/store"), 4)
    assert f"vmargs=-Dfrontend.openPing=true -Dfrontend.tokenFile={tmp_path}/a%20b%2Bc%25\n" in text
    assert "open_ping" not in text and "inference_token_file" not in text
    config.write_text("open_ping=false\n")
    assert "openPing" not in Config.load(config).effective(Path("/store"), 4)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read .No such file"),
        (b"", "one token per line"),
        (b"x" * 31, "32 characters or more; make one with: openssl rand -hex 32 > token"),
        (b"x" * 32 + b" " + b"x" * 32, "one token per line"),
        ("é".encode() * 40, "one token per line"),
        (b"\xff" * 40, "it is no text"),
    ],
)
def test_a_file_without_good_tokens_is_refused_with_the_cure(tmp_path, content, says):
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    (tmp_path / "config.properties").write_text("inference_token_file=token\n")
    with pytest.raises(ServingError, match=says):
        Config.load(tmp_path / "config.properties").effective(Path("/store"), 4)


def test_https_needs_the_files_of_a_certificate_and_their_paths_are_the_configs(tmp_path):
    config = tmp_path / "config.properties"
    config.write_text("inference_address=https://127.0.0.1:8443\ncertificate_file=tls/server.pem\n")
    with pytest.raises(ServingError, match="https:// and no private_key_file; name the PEM files"):
        _ = Config.load(config).certificate
    config.write_text(f"{config.read_text()}private_key_file=/keys/server.key\n")
    assert Config.load(config).certificate == tmp_path / "tls" / "server.pem"
    text = Config.load(config).effective(Path("/store"), 4)
    assert f"certificate_file={tmp_path}/tls/server.pem\n" in text and "private_key_file=/keys/server.key\n" in text
    assert Config.load(ROOT / "config.properties").certificate is None


def test_models_of_the_config_which_torchserve_would_ignore_are_refused_with_the_cure(tmp_path):
    (tmp_path / "config.properties").write_text('models={"minilm-eager": {"1.0": {"minWorkers": 2}}}\n')
    with pytest.raises(ServingError, match=r"ignores models=.*models\.toml.*\[minilm\] workers = 2"):
        Config.load(tmp_path / "config.properties")


def test_a_missing_config_says_so(tmp_path):
    with pytest.raises(ServingError, match="cannot be read"):
        Config.load(tmp_path / "none")


LOG = """\
2026-11-22T10:00:00,000 [INFO ] W-9000-a-eager_1.0-stdout MODEL_LOG - Traceback (most recent call last):
2026-11-22T10:00:00,000 [INFO ] W-9000-a-eager_1.0-stdout MODEL_LOG -   File "x.py", line 1, in f
2026-11-22T10:00:00,000 [INFO ] W-9001-b_1.0-stdout MODEL_LOG - all is well
2026-11-22T10:00:00,000 [INFO ] W-9000-a-eager_1.0-stdout MODEL_LOG - ImportError: the real cause
2026-11-22T10:00:00,000 [INFO ] W-9000-a-eager_1.0-stdout MODEL_LOG - During handling of the above exception, another
2026-11-22T10:00:00,000 [INFO ] W-9000-a-eager_1.0-stdout MODEL_LOG - Traceback (most recent call last):
2026-11-22T10:00:00,000 [INFO ] W-9000-a-eager_1.0-stdout MODEL_LOG - ModuleNotFoundError: No module named 'ts.x'
"""


DEFAULT_HANDLER = """\
Traceback (most recent call last):
  File "ts/model_loader.py", line 153, in _load_handler_file
ModuleNotFoundError: No module named 'image_classifier'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "ts/torch_handler/vision_handler.py", line 11, in <module>
ModuleNotFoundError: No module named 'captum'
"""


def test_the_cause_of_a_default_handler_is_not_that_the_archive_lacks_it():
    assert root_cause(DEFAULT_HANDLER) == "ModuleNotFoundError: No module named 'captum'"
    alone = DEFAULT_HANDLER.partition("During")[0]
    assert root_cause(alone) == "ModuleNotFoundError: No module named 'image_classifier'"


def test_the_first_cause_of_the_right_worker_is_found(tmp_path):
    log = tmp_path / "model_log.log"
    log.write_text(LOG)
    assert failure(log, "a-eager") == "ImportError: the real cause"
    assert failure(log, "b") is None
    assert failure(tmp_path / "none", "b") is None
    assert failure(log, "a-eager", workers=["9000"]) == "ImportError: the real cause"
    assert failure(log, "a-eager", workers=["9001", "9002"]) is None
    assert root_cause("no traceback here") is None


def test_another_workers_lines_in_an_unfinished_traceback_are_not_the_cause(tmp_path):
    log = tmp_path / "model_log.log"
    begun = "".join(LOG.splitlines(keepends=True)[:2])
    other = "[INFO ] W-9001-a-eager_1.0-stdout MODEL_LOG - model_name: a-eager, batchSize: 1\n"
    log.write_text(f"{begun}{begun[:24]}{other}")
    assert failure(log, "a-eager") is None
    with log.open("a") as further:
        further.write("".join(LOG.splitlines(keepends=True)[2:]))
    assert failure(log, "a-eager") == "ImportError: the real cause"
