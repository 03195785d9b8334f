"""Verbs that run in forks: they do and print what a new process does."""

import os
import subprocess
import sys
import time

import pytest

from tests import verbs
from tests.conftest import ROOT


def python(statement, seconds=60, **environment):
    """A program that runs the statement, in a fork."""
    return verbs.run(("timeit", "-n1", "-r1", statement), {**os.environ, **environment}, seconds)


@pytest.mark.parametrize(
    "command", [("serving", "status"), ("serving", "nope"), ("export.list_models",), ("rollout", "x")]
)
def test_a_fork_ends_and_prints_as_a_new_process(command, tmp_path):
    environment = {**os.environ, "RUN_DIR": str(tmp_path / "run"), "MODEL_STORE": str(tmp_path)}
    assert verbs.forks(command, environment)
    forked = verbs.run(command, environment, 60)
    new = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (forked.returncode, forked.stdout, forked.stderr) == (new.returncode, new.stdout, new.stderr)
    assert forked.stdout + forked.stderr


def test_a_fork_has_its_own_environment_folder_and_no_input(monkeypatch):
    monkeypatch.delenv("HERE", raising=False)
    show = "import os, sys; print(os.environ.get('HERE'), os.getcwd(), repr(sys.stdin.read()))"
    for value in ("a", "b"):
        assert python(show, HERE=value).stdout.splitlines()[0] == f"{value} {ROOT} ''"
    assert python(show).stdout.startswith("None ")


def test_a_fork_that_ends_by_a_traceback_or_a_signal_ends_as_a_program_does():
    assert python("import os; os.kill(os.getpid(), 9)").returncode == -9
    failed = verbs.run(("serving.nothing",), os.environ, 60)
    assert failed.returncode == 1 and "No module named serving.nothing" in failed.stderr
    assert verbs.run(("zipfile", "--nothing"), os.environ, 60).returncode == 2


def test_what_a_process_leaves_behind_is_waited_for_while_it_holds_the_output():
    began = time.monotonic()
    assert python("import subprocess; subprocess.Popen(['sleep', '1.5'])").returncode == 0
    assert time.monotonic() - began > 1.4


def test_a_fork_that_takes_too_long_is_killed(tmp_path):
    with pytest.raises(subprocess.TimeoutExpired):
        python(f"import os, time; open('{tmp_path}/pid', 'w').write(str(os.getpid())); time.sleep(60)", 2)
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if not os.path.exists(f"/proc/{pid}"):
            return
        time.sleep(0.05)
    pytest.fail("it still runs")


@pytest.mark.parametrize("name", ["PYTHONPATH", "LC_ALL", "OMP_NUM_THREADS"])
def test_what_concerns_the_interpreter_needs_a_new_process(name):
    assert verbs.forks(("serving", "status"), os.environ)
    assert not verbs.forks(("serving", "status"), {**os.environ, name: "x"})
    assert not verbs.forks(("loadtest",), os.environ)
    assert not verbs.forks(("export",), os.environ) and verbs.forks(("export.list_models",), os.environ)
