"""make passes on variables of its command line and TSI_<NAME>, but no plain names that a shell exports for other
purposes."""

import json
import os
import re
import subprocess
import sys

import pytest

from loadtest.errors import LoadTestError
from loadtest.measure import result_file
from tests.conftest import ROOT, run

SHELL = {"HOST": "http://shell", "OUT": "/shell", "SEED": "1", "NAME": "wsl", "TOKEN": ""}


def make(*words, python=sys.executable, **environment):
    """``make`` with these words on its command line, and only the given variables in its environment."""
    clean = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    command = ["make", "-s", *words, *([f"PYTHON={python}"] if python else [])]
    return subprocess.run(command, cwd=ROOT, env={**clean, **environment}, capture_output=True, text=True, timeout=60)


@pytest.fixture
def printer(tmp_path):
    """A PYTHON that prints its environment."""
    path = tmp_path / "python"
    path.write_text("#!/bin/sh\nexec env\n")
    path.chmod(0o755)
    return str(path)


def passed(done):
    """The variables of these tests in ``printer``'s output."""
    found = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    return {key: found[key] for key in (*SHELL, "RATE", "STORE_KEY") if key in found} | {
        key: value for key, value in found.items() if key.startswith("TSI_")
    }


def test_the_shells_variables_are_not_passed_on_and_one_line_names_those_that_the_verb_reads(printer):
    done = make("loadtest", python=printer, **SHELL)
    assert passed(done) == {}
    assert done.stderr == (
        "Not read from the environment: HOST SEED; write make loadtest HOST=... SEED=... or set TSI_HOST TSI_SEED.\n"
    )
    assert make("token", python=printer, **SHELL).stderr == ""  # make token reads none of these


def test_the_command_line_counts_and_then_the_prefixed_name(printer):
    odd = "x$(y) 'z\""
    done = make("loadtest", "HOST=http://mine", python=printer, **SHELL, TSI_SEED=odd, TSI_HOST="http://prefixed")
    assert passed(done) == {"HOST": "http://mine", "SEED": odd} and done.stderr == ""
    assert passed(make("loadtest", python=printer, TSI_RATE="5", TSI_TOKEN="t")) == {"RATE": "5", "TOKEN": "t"}


def test_a_prefixed_name_that_does_not_exist_is_named(printer):
    assert make("loadtest", python=printer, TSI_HOTS="x").stderr == "There is no such variable: TSI_HOTS.\n"


def test_the_key_of_the_store_and_the_interpreter_count_from_the_environment(printer):
    assert passed(make("serve", python=None, PYTHON=printer, STORE_KEY="key.pub")) == {"STORE_KEY": "key.pub"}
    both = {"PYTHON": "false", "TSI_PYTHON": printer}
    assert passed(make("serve", python=None, TSI_STORE_KEY="key.pub", **both)) == {"STORE_KEY": "key.pub"}


def test_a_config_of_the_shell_leads_no_verb_astray(tmp_path):
    stray = {"CONFIG": str(tmp_path / "others.properties"), "RUN_DIR": "/others"}
    done = make("-e", "status", f"RUN_DIR={tmp_path / 'run'}", **stray)  # -e is for the makefile's own variables
    assert done.stdout == "TorchServe is not running; run: make serve\n", done.stderr
    assert done.stderr.startswith("Not read from the environment: CONFIG; write make status CONFIG=... or set TSI_CON")


def test_every_variable_is_documented():
    makefile = (ROOT / "Makefile").read_text()
    lists = re.findall(r"^(?:PLACE|CHOICE|CHECKPOINT|READ_BY_\w+) := ((?:.*\\\n)*.*)$", makefile, re.MULTILINE)
    names = {word for text in lists for word in re.findall(r"(?<!\()\b[A-Z][A-Z_0-9]+\b", text)}
    assert {"HOST", "OUT", "CONFIG", "BASELINE"} <= names
    pages = " ".join(path.read_text() for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")))
    # passed between the project's own programs
    internal = {"RESULTS_JSON", "BENCH_STORE", "CHOOSE_STORE", "COMPARE_STORE", "TRUST", "FIGURES"}
    assert [name for name in sorted(names - internal) if not re.search(rf"`[^`\n]*\b{name}\b|\b{name}=", pages)] == []


class TestResultFile:
    """OUT is refused before the measurement if it names a folder, another type of file, or a file of others."""

    @pytest.mark.parametrize("verb", ["bench", "compare", "soak", "fuzz", "faults"])
    def test_each_verb_refuses_a_folder(self, verb, tmp_path):
        done = make(verb, f"OUT={tmp_path}", "MODELS=digits", "DEVICE=cpu")
        assert done.returncode == 2 and done.stderr.startswith(f"OUT={tmp_path} is a folder"), done.stderr
        assert list(tmp_path.iterdir()) == []

    def refused(self, path, *beside):
        with pytest.raises(LoadTestError) as caught:
            result_file.chosen({"OUT": str(path)}, path, beside)
        return str(caught.value)

    def test_what_others_wrote_is_kept(self, tmp_path):
        for name, text in (("thesis.json", "A thesis."), ("list.json", "[]"), ("other.json", '{"environment": "dev"}')):
            (tmp_path / name).write_text(text)
            assert "no result of this project" in self.refused(tmp_path / name)
        (tmp_path / "thesis.md").write_text("A thesis.")
        assert "write it as in" in self.refused(tmp_path / "thesis.md")
        assert "no folder" in self.refused(tmp_path / "thesis.md" / "x.json")
        (tmp_path / "new.md").write_text("A thesis.")
        assert "new.md exists" in self.refused(tmp_path / "new.json", ".md")

    def test_our_own_empty_and_new_files_are_taken(self, tmp_path):
        (tmp_path / "ours.json").write_text(json.dumps({"environment": {"cpu": "x"}}))
        (tmp_path / "ours.md").write_text("a table")
        (tmp_path / "empty.json").touch()
        for name in ("ours.json", "empty.json", "new/folder/file.json"):
            assert result_file.chosen({"OUT": str(tmp_path / name)}, tmp_path, (".md",)) == tmp_path / name


def test_the_faults_figures_take_the_last_runs_place_when_the_tests_have_ended(tmp_path):
    out, test, meanwhile = tmp_path / "faults.json", tmp_path / "test_one.py", tmp_path / "meanwhile"
    test.write_text(
        "import shutil\nfrom tests.trust.figures import FULL, record\n\n\ndef test_one():\n"
        f"    record('one', full=FULL)\n    shutil.copy({str(out)!r}, {str(meanwhile)!r})\n    assert False\n"
    )
    out.write_text('{"environment": {}}')
    done = run("tests.trust.faults", str(test), "-p", "no:cacheprovider", OUT=str(out))
    assert done.returncode == 1 and "1 failed" in done.stdout, done.stdout + done.stderr
    assert meanwhile.read_text() == '{"environment": {}}'
    assert json.loads(out.read_text())["figures"] == {"one": {"full": True}}
    assert not result_file.partial(out).exists()
