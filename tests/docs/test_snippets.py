"""The commands and the code in the pages fit the project: verbs, variables and their values, modules, files and tests
exist, and code compiles. tests/serving/test_served_pages.py sends the requests."""

from __future__ import annotations

import importlib.util
import re
import subprocess

import pytest

from bench.plan import read_plan
from choose import request as choose
from compare import request as compare
from export.catalog import VARIANTS as ROWS
from export.own_models import own_models
from loadtest.measure import profile
from serving.chosen import Choices
from serving.model_settings import ModelSettings
from tests.conftest import ROOT
from tests.docs.pages import PAGES, blocks, make_commands, spans
from tests.test_project import targets

MAKEFILE = (ROOT / "Makefile").read_text()
COMMANDS = make_commands()
VARIANTS = {row.name for row in ROWS if row.kinds != ("none",)}
TESTS = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))


def variables_of(verb: str) -> set[str]:
    """The variables that a verb reads, by the Makefile."""
    shared = dict(re.findall(r"^(PLACE|CHOICE|CHECKPOINT) := (.*)$", MAKEFILE, re.MULTILINE))
    line = re.search(rf"^READ_BY_{verb} := ((?:.*\\\n)*.*)$", MAKEFILE, re.MULTILINE)
    text = line[1] if line else ""
    for _ in shared:
        text = re.sub(r"\$\((PLACE|CHOICE|CHECKPOINT)\)", lambda found: shared[found[1]], text)
    return set(re.findall(r"[A-Z][A-Z_0-9]+", text)) | {"PYTHON", "STORE_KEY"}


def test_the_pages_have_commands():
    assert len(COMMANDS) > 60 and {"README.md", "measurement.md", "SECURITY.md"} <= {each.page for each in COMMANDS}
    assert "MODELS" in variables_of("choose") and "CONFIG" in variables_of("stop") and "OUT" not in variables_of("stop")


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_make_command_has_verbs_variables_and_variants_that_exist(command):
    assert set(command.verbs) <= set(targets()), command.verbs
    read = set().union(*(variables_of(verb) for verb in command.verbs or targets()))
    assert {name for name in command.variables if not name.endswith("_WEIGHTS")} <= read
    assert set(re.findall(r"\w+", command.variables.get("VARIANTS", ""))) <= VARIANTS


READERS = {"loadtest": profile.load, "choose": choose.read, "compare": compare.read, "bench": read_plan}


@pytest.mark.parametrize("command", [each for each in COMMANDS if set(each.verbs) & set(READERS)], ids=str)
def test_the_verbs_own_reader_accepts_the_values(command):
    given = {name: value for name, value in command.variables.items() if "..." not in value and name != "OUT"}
    if command.verbs[0] == "bench":
        given["DEVICE"] = "cpu"
        given.pop("VARIANTS", None)  # may name a GPU's
    if command.verbs[0] == "choose":
        given.setdefault("MODEL", "" if "MODELS" in given else "minilm")
    READERS[command.verbs[0]](given)


@pytest.mark.parametrize("block", blocks("sh"), ids=str)
def test_a_shell_block_is_good_bash(block):
    text = block.text.replace("<this repository>", "repository")
    checked = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
    assert checked.returncode == 0 and checked.stderr == "", checked.stderr


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_compiles(block):
    compile(block.text, block.page, "exec")


@pytest.mark.parametrize("block", [each for each in blocks("toml") if each.page == "models-toml.md"], ids=str)
def test_models_toml_is_accepted(block, tmp_path):
    path = tmp_path / "models.toml"
    path.write_text(block.text)
    assert ModelSettings.load(path).models and Choices.load(path).path == path
    assert len(own_models(path)) == block.text.count("\nsource =")


def test_every_module_that_a_page_runs_exists():
    code = [text for _, text in spans()] + [block.text for block in blocks("sh")]
    modules = {name for text in code for name in re.findall(r"python3? -m ([\w.]+)", text)}
    assert {"loadtest.comparisons.agreement", "bench.published", "export.digits.accuracy"} <= modules
    assert [name for name in sorted(modules) if not importlib.util.find_spec(name)] == []


def test_every_file_that_a_page_names_exists():
    rooms = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    named = {(page, code.rstrip("/")) for page, code in spans() if re.fullmatch(r"[\w/.-]+/[\w.-]*", code)}
    named = {(page, code) for page, code in named if code.split("/")[0] in rooms - {"site", "build"}}
    assert len(named) > 60
    made = re.compile(r"(choose|compare|loadtest|bench)/results|model_store/")
    assert [each for each in sorted(named) if not made.match(each[1]) and not (ROOT / each[1]).exists()] == []


def test_every_test_that_a_page_names_exists():
    named = {(page, code) for page, code in spans() if re.fullmatch(r"test_\w+(\.py)?", code)}
    assert len(named) > 20
    files = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    missing = [(page, code) for page, code in named if code not in files and f"def {code}(" not in TESTS]
    assert missing == []


def test_every_command_of_pytest_selects_tests_that_exist():
    found = {path for _, code in spans() for path in re.findall(r"pytest(?: -\w+)*((?: tests[\w/.-]*)+)", code)}
    paths = {path for each in found for path in each.split()}
    assert len(paths) > 10 and [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_no_page_is_longer_than_a_reader_stays():
    assert {page.name: lines for page in PAGES if (lines := page.read_text().count("\n")) > 300} == {}
