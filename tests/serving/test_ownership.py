"""Only files and processes that this project made are deleted and ended, even if a record or a variable names
others."""

import json
import os
import re
import shutil
import subprocess
import sys
import time

import psutil
import pytest

from export.build import remove_leftovers
from serving import owned
from serving.server import STOP_TIMEOUT_S, stop
from serving.state import LOGS, OWN, RunDirectory, State, await_ended
from tests.conftest import run
from tests.serving.plain_archives import ours
from tests.trust.place import eventually

NAME = "torchserve-ab12cd34"


@pytest.fixture
def directory(tmp_path):
    made = RunDirectory(tmp_path / "run")
    made.create()
    return made


def test_a_folder_that_another_start_makes_meanwhile_is_ours(tmp_path, monkeypatch):
    folder, looked = RunDirectory(tmp_path / "run"), RunDirectory.is_ours

    def overtaken(run):
        """What a start sees before another start has made the folder."""
        monkeypatch.setattr(RunDirectory, "is_ours", looked)
        seen = looked(run)
        folder.create()
        return seen

    monkeypatch.setattr(RunDirectory, "is_ours", overtaken)
    RunDirectory(folder.path).create()
    folder.create()
    assert folder.is_ours()


@pytest.fixture
def precious(tmp_path):
    """A user's folder, with something in it."""
    folder = tmp_path / "precious"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    yield folder
    assert (folder / "thesis.txt").read_text() == "years of work"


def made_by_a_start(folder):
    folder.mkdir(parents=True)
    owned.mark(folder)
    return folder


def linked(folder, precious):
    (folder / NAME).symlink_to(precious)
    return folder / NAME


def unmarked(folder, precious):
    shutil.copytree(precious, folder / NAME)
    return folder / NAME


def copied(folder, precious):
    """A user's copy of a server's folder."""
    made = made_by_a_start(folder / "temp" / NAME)
    shutil.copytree(made, folder / NAME)
    return folder / NAME


def another_users(folder, precious):
    made = made_by_a_start(folder / NAME)
    os.chown(made, 65534, 65534)
    return made


FORGED = [
    pytest.param(linked, "it is no folder", id="link"),
    pytest.param(unmarked, "it holds no", id="unmarked"),
    pytest.param(copied, "it was made elsewhere", id="copy"),
    pytest.param(another_users, "another user's", id="owner",
                 marks=pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away takes root")),
]  # fmt: skip


@pytest.mark.parametrize(("forge", "says"), FORGED)
def test_a_record_that_names_another_folder_deletes_nothing(directory, precious, tmp_path, forge, says):
    named = forge(tmp_path, precious)
    before = sorted(named.iterdir())
    directory.write(State(str(named), ""))
    told = []
    assert not stop(directory, told.append)
    assert len(told) == 1 and says in told[0] and str(named) in told[0]
    assert sorted(named.iterdir()) == before and not directory.record.exists()


DAMAGED = ["{", "[]", "null", '{"temp": "%s"}', '{"temp": "%s", "config": ""}', '{"temp": "", "config": ""}',
           '{"temp": "%s/../torchserve-ab12cd34", "config": ""}', '{"temp": "torchserve-ab12cd34", "config": ""}',
           '{"temp": ["%s"], "config": ""}', '{"temp": "/x/torchserve-ab12cd34", "config": "", "pid": "1"}',
           '{"temp": "/x/torchserve-ab12cd34", "config": "", "ports": 8080}']  # fmt: skip


@pytest.mark.parametrize("record", DAMAGED)
def test_a_damaged_record_is_no_record(directory, precious, record):
    directory.record.write_text(record.replace("%s", str(precious)))
    assert directory.read() is None
    told = []
    assert not stop(directory, told.append)
    assert len(told) == 1 and "is damaged" in told[0]
    assert not directory.record.exists()


def test_the_folder_of_a_start_goes(directory, tmp_path):
    folder = made_by_a_start(tmp_path / NAME)
    directory.write(State(str(folder), ""))
    told = []
    assert not stop(directory, told.append)
    assert not folder.exists() and told == []


def test_no_process_is_ended_that_no_start_made(directory, tmp_path):
    """TEMP is a common variable: a record with a common value must not lead to other processes that have it."""
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE,
                               env={**os.environ, OWN: str(tmp_path)})  # fmt: skip
    try:
        record = {"temp": str(tmp_path), "config": "", "pid": sleeper.pid}
        directory.record.write_text(json.dumps(record))
        assert not stop(directory, lambda text: None) and sleeper.poll() is None
        directory.write(State(f"/gone/{NAME}", "", pid=sleeper.pid))  # a pid that now belongs to another process
        assert not stop(directory, lambda text: None) and sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_process_whose_environment_shows_a_moment_late_is_known(tmp_path):
    """After exec the kernel shows no environment for some milliseconds; here, a shell without it becomes the
    program."""
    temp = f"{tmp_path}/{NAME}"
    late = subprocess.Popen(["sh", "-c", f"sleep 0.3; {OWN}={temp} exec sleep 60"])
    try:
        state = State(temp, "", pid=late.pid)
        assert not state.running() and state.appears(30) and state.running()
    finally:
        late.kill()
    os.waitid(os.P_PID, late.pid, os.WEXITED | os.WNOWAIT)
    assert not state.appears(30)  # a zombie, at once
    late.wait()
    assert not state.appears(30) and not State(temp, "").appears(30)


def test_a_process_whose_status_nobody_reads_has_ended(directory):
    """The parent of a server may be the process 1 of a container that reads no status: it stays a zombie."""
    environment = {**os.environ, OWN: f"/gone/{NAME}", LOGS: str(directory.logs)}
    script = f"sleep 60 & echo $!; {OWN}= exec sleep 60"
    with subprocess.Popen(["sh", "-c", script], env=environment, stdout=subprocess.PIPE, text=True) as parent:
        try:
            server, began = psutil.Process(int(parent.stdout.readline())), time.monotonic()
            eventually(lambda: [each.pid for each in directory.processes()] == [server.pid])
            assert stop(directory)
            assert server.status() == psutil.STATUS_ZOMBIE and time.monotonic() - began < STOP_TIMEOUT_S / 2
        finally:
            parent.kill()


def test_a_process_whose_first_thread_alone_has_ended_has_not(tmp_path):
    """Java's threads end one after the other, and the last of them closes the ports."""
    exit_of_a_thread = {"x86_64": 60, "aarch64": 93}[os.uname().machine]  # the number of the system call
    program = (
        "import ctypes, threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\n"
        f"ctypes.CDLL(None).syscall({exit_of_a_thread}, 0)"
    )
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        shown = psutil.Process(process.pid)
        eventually(lambda: shown.status() == psutil.STATUS_ZOMBIE)
        assert await_ended([shown], 0.1) == [shown]
        process.kill()
        assert await_ended([shown], 10) == []


@pytest.mark.parametrize("verb", ["serve", "stop", "clean"])
def test_a_run_folder_that_is_the_users_is_left_as_it_is(precious, tmp_path, verb):
    for name in ("models", "logs"):
        (precious / name).mkdir()
        (precious / name / "mine").write_text("x")
    (precious / "server.json").write_text(json.dumps({"temp": f"/gone/{NAME}", "config": ""}))  # like a start's
    before = {path: path.lstat().st_mode for path in precious.rglob("*")}
    ours(tmp_path, "a-eager", "a", "eager")
    done = run("serving", verb, RUN_DIR=str(precious), MODEL_STORE=str(tmp_path))
    assert before == {path: path.lstat().st_mode for path in precious.rglob("*")}
    assert done.returncode == (verb == "serve")
    assert verb != "serve" or "holds other files; name a folder that is new or empty" in done.stderr


def test_clean_removes_what_can_be_built_again_and_nothing_else(directory, tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    ours(store, "a-eager", "a", "eager")
    (store / "bought.mar").write_bytes(b"no archive of ours")
    (directory.logs / "ts_log.log").write_text("")
    done = run("serving", "clean", RUN_DIR=str(directory.path), MODEL_STORE=str(store))
    assert done.returncode == 0 and "bought.mar is left in place" in done.stdout, done.stderr
    assert [path.name for path in store.iterdir()] == ["bought.mar"] and not directory.path.exists()


def test_a_build_removes_what_builds_left_and_nothing_else(precious, tmp_path):
    store = tmp_path / "store"
    kept = [store / ".build-notes", store / ".build-notes-ab12cd34", store / ".film.mkv.part"]
    gone = [made_by_a_start(store / ".build-a-eager-ab12cd34"), store / ".a-eager.mar.part",
            store / ".a-eager.mar.sha256.part"]  # fmt: skip
    for folder in kept[:2]:
        folder.mkdir()
    for file in (kept[2], *gone[1:]):
        file.write_text("x")
    (store / ".build-link-ab12cd34").symlink_to(precious)
    remove_leftovers(store)
    assert all(path.exists() for path in kept) and not any(path.exists() for path in gone)


def test_a_folder_that_moved_is_not_removed_by_its_old_name(tmp_path):
    made = made_by_a_start(tmp_path / NAME)
    assert owned.doubt(made, re.compile("build-.*")) and not owned.doubt(made, re.compile("torchserve-.*"))
    made.rename(tmp_path / "torchserve-zz12cd34")
    assert owned.doubt(made, re.compile("torchserve-.*")) == ""  # nothing is there
    assert owned.remove(tmp_path / "torchserve-zz12cd34", re.compile("torchserve-.*")) == "it was made elsewhere"
