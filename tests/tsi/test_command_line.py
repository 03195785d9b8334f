"""The command line of ``tsi``: variables as make reads them, exit statuses, help, and shell completion."""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from itertools import takewhile

import pytest

from tests.conftest import ROOT
from tests.docs.pages import blocks
from tsi import completion
from tsi.__main__ import command
from tsi.table import TOOL, VARIABLES, reads
from tsi.variables import VariableError, environment, given

SHELL = {"HOST": "http://shell", "OUT": "/shell", "SEED": "1", "NAME": "wsl", "TOKEN": ""}


def tsi(*words, **variables):
    """``python -m tsi`` in the checkout, with only the given environment."""
    clean = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    command = [sys.executable, "-m", "tsi", *words]
    return subprocess.run(command, cwd=ROOT, env={**clean, **variables}, capture_output=True, text=True, timeout=60)


def passed(verb, words, **shell):
    """The variables of these tests that a verb's process gets."""
    verbs = [TOOL[verb]]
    found = environment(verbs, given(verbs, words), {"PATH": "/bin", **shell})
    return {name: value for name, value in found.items() if name not in ("PATH", "WEIGHTS_GIVEN")}


def test_the_shells_plain_names_are_not_passed_on_and_prefixed_ones_are():
    assert passed("loadtest", [], **SHELL) == {}
    odd = "x$(y) 'z\""
    assert passed("loadtest", ["HOST=http://mine"], **SHELL, TSI_SEED=odd, TSI_HOST="http://prefixed") == {
        "HOST": "http://mine", "SEED": odd,
    }  # fmt: skip
    assert passed("serve", [], STORE_KEY="key.pub") == {"STORE_KEY": "key.pub"}
    assert passed("archive", [], MINILM_WEIGHTS="/w") == {"MINILM_WEIGHTS": "/w"}


def test_weights_of_one_model_are_passed_to_the_build():
    verbs = [TOOL["archive"]]
    assert environment(verbs, given(verbs, ["MINILM_WEIGHTS=/w"]), {})["WEIGHTS_GIVEN"] == "MINILM_WEIGHTS"
    with pytest.raises(VariableError):
        given([TOOL["serve"]], ["MINILM_WEIGHTS=/w"])


def test_exported_variables_that_the_verb_would_read_are_named(tmp_path):
    done = tsi("token", f"RUN_DIR={tmp_path}", **SHELL)
    assert "Not read" not in done.stderr
    done = tsi("stop", f"RUN_DIR={tmp_path}", CONFIG="/others", TSI_HOTS="x")
    assert done.stderr == (
        "Not read from the environment: CONFIG; write tsi stop CONFIG=... or set TSI_CONFIG.\n"
        "There is no such variable: TSI_HOTS.\n"
    )
    assert (done.returncode, done.stdout) == (0, "TorchServe is not running.\n")


def test_options_and_variables_are_the_same(tmp_path):
    for words in ((f"RUN_DIR={tmp_path}",), ("--run-dir", str(tmp_path))):
        done = tsi("status", *words)
        assert (done.returncode, done.stdout) == (1, "TorchServe is not running; run: tsi serve\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["serv"], "There is no verb serv; did you mean serve?"),
        (["test"], "test needs a checkout of the project; run there: make test"),
        (["archive", "MODLES=null"], "There is no variable MODLES; did you mean MODELS?"),
        (["status", "DEVICE=cpu"], "tsi status does not read DEVICE; tsi status --help lists what it reads"),
        (["status", "now"], "'now' is neither a verb nor a variable; write variables as in MODELS=minilm"),
        (["stop", "status", "--workers", "2"], "No such option '--workers'."),
        (["--home", "/nowhere", "status"], "'/nowhere' does not exist"),
    ],
)
def test_an_unknown_word_is_refused_before_anything_runs(words, says):
    done = tsi(*words)
    assert done.returncode == 2 and says in done.stderr and done.stdout == ""


def test_verbs_run_in_turn_until_one_fails(tmp_path):
    done = tsi("stop", "status", "stop", f"RUN_DIR={tmp_path}")
    assert done.returncode == 1
    assert done.stdout == "TorchServe is not running.\nTorchServe is not running; run: tsi serve\n"


def test_home_is_the_folder_of_a_users_files(tmp_path):
    done = tsi("--home", str(tmp_path), "serve")
    assert (done.returncode, done.stderr) == (1, f"{tmp_path}/model_store holds no archive; run: tsi archive\n")


def test_a_verbs_error_and_exit_status_are_those_of_make():
    said = tsi("loadtest", "RATE=fast")
    made = subprocess.run([sys.executable, "-m", "loadtest"], cwd=ROOT, env={**os.environ, "RATE": "fast"},
                          capture_output=True, text=True, timeout=60)  # fmt: skip
    assert said.returncode == made.returncode != 0 and said.stderr == made.stderr != ""


def test_the_help_lists_every_verb_and_every_variable_with_its_meaning():
    shown = " ".join(tsi().stdout.split())
    assert tsi("--help").stdout == tsi().stdout
    for verb in TOOL.values():
        assert verb.help.replace("with make -s, ", "").replace("make ", "tsi ") in shown
    shown = " ".join(tsi("archive", "serve", "--help").stdout.split())
    for name in reads([TOOL["archive"], TOOL["serve"]]):
        assert f"{name}: {VARIABLES[name].meaning}" in shown and f"--{name.lower().replace('_', '-')}" in shown


@pytest.fixture
def following(tmp_path):
    """``tsi logs FOLLOW=1``, which keeps running, in its own process group."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "model_log.log").write_text("a line\n")
    command = [sys.executable, "-m", "tsi", "logs", "--follow", f"RUN_DIR={tmp_path}"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout.readline()
        yield process
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # also tail, which the verb runs


def test_a_signal_is_passed_on_to_the_verb(following):
    following.send_signal(signal.SIGTERM)
    assert following.wait(20) == 128 + signal.SIGTERM


def test_the_verb_handles_ctrl_c(following):
    os.killpg(following.pid, signal.SIGINT)
    assert following.wait(20) == 130


def completed(shell, words, at, **variables):
    """The completions that a shell gets for ``words`` with the cursor on word ``at``."""
    done = tsi(_TSI_COMPLETE=f"{shell}_complete", COMP_WORDS=words, COMP_CWORD=at, **variables)
    return done.stdout


@pytest.mark.parametrize(
    ("words", "at", "expected"),
    [
        ("tsi st", "1", {"stop", "status"}),
        ("tsi stop st", "2", {"status"}),
        ("tsi serve MODELS_F", "2", {"MODELS_FILE="}),
        ("tsi archive MODELS = min", "4", {"minilm"}),
        ("tsi archive --variants onnx,open", "3", {"onnx,openvino"}),
        ("tsi choose --objective l", "3", {"latency"}),
        ("tsi serve --mod", "2", {"--models", "--models-file", "--model-store"}),
    ],
)
def test_bash_completes_verbs_variables_and_values(words, at, expected):
    lines = completed("bash", words, at).splitlines()
    assert {line.removeprefix("plain,") for line in lines} == expected


def test_zsh_and_fish_complete_whole_words():
    assert "MODELS=minilm" in completed("zsh", "tsi archive MODELS=mi", "2").splitlines()
    assert "plain,MODELS=minilm" in completed("fish", "tsi archive MODELS=mi", "MODELS=mi").splitlines()


def test_a_file_is_completed_by_the_shell_and_an_archive_from_the_store(tmp_path):
    assert completed("bash", "tsi archive HANDLER = my", "4") == "file,my\n"
    (tmp_path / "mine-torchscript.mar").touch()
    found = completed("bash", "tsi rollout MODEL = mi", "4", TSI_MODEL_STORE=str(tmp_path))
    assert found == "plain,mine-torchscript\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_reads_its_script(shell):
    script = tsi(_TSI_COMPLETE=f"{shell}_source").stdout
    assert "_TSI_COMPLETE" in script
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_in_bash_no_space_follows_a_variables_name():
    """In a real bash, with the function that the script defines."""
    script = completion.Bash(None, {}, "tsi", "_TSI_COMPLETE").source()
    tail = (
        '\ntsi() { :; }\nenv() { printf "plain,MODELS=\\n"; }\ncompopt() { echo "$@"; }\n'
        "COMP_WORDS=(tsi archive MODELS) COMP_CWORD=2\n_tsi_completion tsi\necho ${COMPREPLY[@]}\n"
    )
    done = subprocess.run(["bash", "-c", script + tail], capture_output=True, text=True, check=True)
    assert done.stdout == "-o nospace\nMODELS=\n"


LINES = [line for block in blocks("sh") for line in block.text.splitlines() if line.startswith("tsi ")]


@pytest.mark.parametrize("line", LINES)
def test_every_command_of_the_pages_is_valid(line):
    words = shlex.split(line, comments=True)[1:]
    verbs = list(takewhile(TOOL.__contains__, words))
    found = command([TOOL[verb] for verb in verbs]).make_context("tsi", words[len(verbs) :])
    assert verbs
    given([TOOL[verb] for verb in verbs], found.params["words"])


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
def test_fish_itself_completes_a_list_behind_its_comma(tmp_path):
    (tmp_path / "tsi").write_text(f'#!/bin/sh\ncd {ROOT} && exec {sys.executable} -m tsi "$@"\n')
    (tmp_path / "tsi").chmod(0o755)
    script = tsi(_TSI_COMPLETE="fish_source").stdout
    done = subprocess.run(
        ["fish", "--no-config", "-c", f'{script}\ncomplete -C "tsi archive --variants onnx,open"'],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "onnx,openvino\n"
