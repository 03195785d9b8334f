"""Starts and stops, and their failures: ports in use, broken archives, crashes, signals, expired tokens."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path

import psutil
import pytest

from serving.client import Client
from serving.config import Config
from serving.environment import java_home
from serving.errors import ServingError
from serving.front_end.shared import shared
from serving.ports import in_use
from serving.state import RunDirectory
from serving.store import publish
from tests import metrics
from tests.conftest import ROOT, run, write_config
from tests.trust.place import eventually

pytestmark = pytest.mark.served


@pytest.fixture
def place(null_store, tmp_path):
    """A separate store with only ``null``, separate ports and run folder; always stopped at the end."""
    (tmp_path / "store").mkdir()
    for name in ("null.mar", "null.mar.sha256"):
        shutil.copy(null_store / name, tmp_path / "store")
    environment = {
        "CONFIG": str(write_config(tmp_path / "config.properties", token_expiration_min="0.05")),
        "RUN_DIR": str(tmp_path / "run"),
        "MODEL_STORE": str(tmp_path / "store"),
        "MODELS": "",
        "VARIANTS": "",
    }
    yield environment
    assert run("serving", "stop", **environment).returncode == 0


def client(place):
    return Client(Config.load(Path(place["CONFIG"])), RunDirectory(Path(place["RUN_DIR"])).key_file)


def state(place):
    return RunDirectory(Path(place["RUN_DIR"])).read()


@contextmanager
def requests_under_way(place):
    """The paused worker, and the answers to be of three requests: it has one, and two are in the queue."""
    config, key_file = Config.load(Path(place["CONFIG"])), RunDirectory(Path(place["RUN_DIR"])).key_file
    asking = Client(config, key_file, retries=0)
    worker = psutil.Process(asking.workers("null")[0]["pid"])
    worker.suspend()
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(asking.predict, "null", b"x", "text/plain") for _ in range(3)]
        eventually(lambda: metrics.value(config, "tsi_queue_length") == 2)
        yield worker, answers


def begin(place, verb, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "serving", verb], cwd=ROOT, env={**os.environ, **place, **environment},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def broken(place, change):
    """Replaces null.mar by one whose handler ``change`` has edited, with its digest."""
    store = Path(place["MODEL_STORE"])
    with zipfile.ZipFile(store / "null.mar") as good, zipfile.ZipFile(store / "new", "w") as bad:
        for name in good.namelist():
            text = good.read(name)
            bad.writestr(name, change(text) if name == "null.py" else text)
    publish(store / "new", store / "null.mar")


def test_start_answer_expire_renew_crash_recover_stop(place):
    started = run("serving", "serve", **place)
    assert started.returncode == 0, started.stderr
    assert "curl" in started.stdout and "/predictions/null" in started.stdout
    asking = client(place)
    for _ in range(3):  # tokens live for 3 s here
        assert asking.predict("null", b"x", "text/plain").json() == {"predictions": []}
        time.sleep(1.5)
    before = state(place)
    os.kill(before.pid, signal.SIGKILL)  # the JVM dies; workers may outlive it
    time.sleep(0.5)
    dead = run("serving", "status", **place)
    assert dead.returncode == 1 and "has died" in dead.stdout
    eventually(lambda: shared(java_home()).image, 60)
    again = run("serving", "serve", **place)
    assert again.returncode == 0, again.stderr
    assert before.processes() == [] and not Path(before.temp).exists()
    assert client(place).predict("null", b"x", "text/plain").ok
    assert str(shared(java_home()).image) in Path(f"/proc/{state(place).pid}/maps").read_text()
    inference = next(iter(Config.load(Path(place["CONFIG"])).ports()))
    with requests_under_way(place) as (worker, answers):
        stopping = begin(place, "stop")
        eventually(lambda: not in_use(inference))
        worker.resume()
    assert [each.result().status_code for each in answers] == [200] * 3, "the server ends before it has answered"
    assert "stopped" in stopping.communicate(timeout=60)[0] and stopping.returncode == 0
    assert "not running" in run("serving", "stop", **place).stdout
    assert run("serving", "status", **place).returncode == 1


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda text: b"import no_such_library\n" + text, "No module named 'no_such_library'"),
        (lambda text: text + b"\n    def prepare(self):\n        raise OSError('disk on fire')\n", "disk on fire"),
    ],
    ids=["import", "load"],
)
def test_a_worker_that_cannot_load_is_reported_by_its_own_cause(place, change, cause):
    broken(place, change)
    failed = run("serving", "serve", **place)
    assert failed.returncode == 1
    assert cause in failed.stderr and "ts.torch_handler" not in failed.stderr and "Traceback" not in failed.stderr
    assert state(place) is None
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", next(iter(Config.load(Path(place["CONFIG"])).ports())))) != 0


def test_a_port_in_use_names_the_port_and_its_owner(place):
    port = next(iter(Config.load(Path(place["CONFIG"])).ports()))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        failed = run("serving", "serve", **place)
    assert failed.returncode == 1
    assert f"Port {port} (inference_address) is in use by pid {os.getpid()}" in failed.stderr


def test_nothing_built_says_what_to_run(place, tmp_path):
    (tmp_path / "empty").mkdir()
    failed = run("serving", "serve", **{**place, "MODEL_STORE": str(tmp_path / "empty")})
    assert failed.returncode == 1 and "run: make archive" in failed.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_foreground_stays_and_stops_cleanly_and_does_not_serve_an_inherited_path(place, tmp_path, number):
    intruder = tmp_path / "intruder"
    (intruder / "handlers").mkdir(parents=True)
    (intruder / "handlers" / "__init__.py").write_text("raise RuntimeError('served the wrong code')")
    process = begin(place, "serve", FOREGROUND="1", PYTHONPATH=str(intruder))
    for line in process.stdout:
        if "Ready after" in line:
            break
    running = state(place)
    assert running is not None and len(running.processes()) >= 2 and process.poll() is None
    with requests_under_way(place) if number == signal.SIGINT else nullcontext((None, [])) as (_, unanswered):
        process.send_signal(number)
        assert process.wait(timeout=15) == 0, "it waits for a worker that hangs"
    assert all(isinstance(each.exception(), ServingError) for each in unanswered)
    assert running.processes() == [] and state(place) is None


def test_a_pid_used_again_is_not_mistaken_for_the_server(place, tmp_path):
    directory = RunDirectory(Path(place["RUN_DIR"]))
    directory.create()
    stale = {"pid": os.getpid(), "temp": "/gone/torchserve-00000000", "config": ""}
    (directory.path / "server.json").write_text(json.dumps(stale))
    assert not directory.read().running()
    assert run("serving", "status", **place).returncode == 1


@pytest.mark.parametrize("foreground", ["1", ""])
def test_a_signal_whose_interrupt_is_lost_ends_the_start_all_the_same(place, tmp_path, foreground):
    """Python drops an exception that is raised while an object is finalized. Here the signal comes in a finalizer."""
    script = tmp_path / "serve.py"
    script.write_text(
        "import os, signal, sys\n"
        "from serving import serve\n"
        "from serving.__main__ import main\n"
        "class Finalized:\n"
        "    def __del__(self):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "warm_up = serve.warm_up\n"
        "def interrupted(*arguments):\n"
        "    Finalized()\n"
        "    return warm_up(*arguments)\n"
        "serve.warm_up = interrupted\n"
        "sys.argv[1:] = ['serve']\n"
        "sys.exit(main())\n"
    )
    environment = {**os.environ, **place, "FOREGROUND": foreground, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, str(script)], cwd=ROOT, env=environment, capture_output=True, text=True,
                          timeout=120)  # fmt: skip
    assert "Exception ignored" in done.stderr and "Ready after" in done.stdout
    assert done.returncode == (0 if foreground else 130) and state(place) is None
