"""Verbs that run in forks: they do and print what a new process does."""

import os
import re
import subprocess
import sys
import time

import pytest

from tests import verbs
from tests.conftest import ROOT


def python(statement, seconds=60, **environment):
    """A program that runs the statement, in a fork."""
    return verbs.run(("timeit", "-n1", "-r1", statement), {**os.environ, **environment}, seconds)


def new_process(command, environment, seconds):
    """The command as make starts it."""
    new = [sys.executable, "-m", *command]
    return subprocess.run(new, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds)


@pytest.mark.parametrize(
    "command", [("serving", "status"), ("serving", "nope"), ("export.list_models",), ("rollout", "x")]
)
def test_a_fork_ends_and_prints_as_a_new_process(command, tmp_path):
    environment = {**os.environ, "RUN_DIR": str(tmp_path / "run"), "MODEL_STORE": str(tmp_path)}
    assert verbs.forks(command, environment)
    forked = verbs.run(command, environment, 60)
    new = new_process(command, environment, 60)
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


@pytest.mark.skipif("COVERAGE_RUN" in os.environ, reason="coverage changes variables that keep verbs from forks")
@pytest.mark.parametrize("name", ["PYTHONPATH", "LC_ALL", "OMP_NUM_THREADS"])
def test_what_concerns_the_interpreter_needs_a_new_process(name):
    assert verbs.forks(("serving", "status"), os.environ)
    assert not verbs.forks(("serving", "status"), {**os.environ, name: "x"})
    assert not verbs.forks(("loadtest",), os.environ)
    assert verbs.forks(("export",), os.environ) and verbs.forks(("export.list_models",), os.environ)
    assert not verbs.forks(("export",), {**os.environ, name: "x"})


@pytest.mark.parametrize("name", ["HF_HUB_CACHE", "HOME", "TORCH_LOGS"])
def test_what_a_library_reads_at_its_import_needs_a_new_process_for_a_build(name):
    assert not verbs.forks(("export",), {**os.environ, name: "x"})
    assert verbs.forks(("serving", "status"), {**os.environ, name: "x"})


def test_a_forked_build_gives_the_bytes_and_the_lines_of_a_new_process(tmp_path):
    found = []
    for name, build in (("forked", verbs.run), ("new", new_process)):
        environment = {**os.environ, "MODELS": "null", "DEVICE": "cpu", "MODEL_STORE": str(tmp_path / name)}
        done = build(("export",), environment, 120)
        assert done.returncode == 0, done.stderr
        lines = re.sub(r"[\d.]+ s", "", done.stdout + done.stderr)
        found.append((lines, (tmp_path / name / "null.mar").read_bytes()))
    assert found[0] == found[1]


def test_a_forked_build_ends_with_the_status_of_a_refusal(tmp_path):
    environment = {**os.environ, "MODELS": "nothing", "MODEL_STORE": str(tmp_path)}
    forked, new = (build(("export",), environment, 120) for build in (verbs.run, new_process))
    assert (forked.returncode, forked.stdout, forked.stderr) == (new.returncode, new.stdout, new.stderr)
    assert forked.returncode == 2


def test_the_dry_runs_of_a_forked_build_are_forks_until_it_ends():
    program = (
        "import gc, subprocess; from export import dry_run; from tests import verbs_child\n"
        "verbs_child.LISTENING = ''; verbs_child.fork_builds(); gc.collect(); print(dry_run.subprocess is subprocess)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n", done.stderr
