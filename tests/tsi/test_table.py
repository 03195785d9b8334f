"""The table of ``tsi`` and the Makefile have the same verbs, sentences, modules and variables."""

import re

import pytest

from tests.conftest import ROOT
from tsi.table import EITHER, TOOL, VARIABLES, VERBS

MAKEFILE = (ROOT / "Makefile").read_text()
LISTS = {name: text.replace("\\\n", " ").split() for name, text in
         re.findall(r"^(PLACE|CHOICE|CHECKPOINT|READ_BY_\w+) := ((?:.*\\\n)*.*)$", MAKEFILE, re.MULTILINE)}  # fmt: skip
TARGETS = dict(re.findall(r"^([a-z]+):.* ## (.+)$", MAKEFILE, re.MULTILINE))


def variables(name):
    """The variables of one of make's lists, with the lists in it."""
    return [each for word in LISTS.get(name, ()) for each in (variables(word[2:-1]) if word[0] == "$" else [word])]


def test_the_verbs_are_those_of_the_makefile_with_their_sentences_in_its_order():
    assert {name: verb.help for name, verb in VERBS.items()} == {
        name: text for name, text in TARGETS.items() if name != "help"
    }
    assert [*VERBS] == [name for name in TARGETS if name != "help"]


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_reads_what_make_passes_on(name):
    assert sorted(set(VERBS[name].reads)) == sorted(set(variables(f"READ_BY_{name}")))


@pytest.mark.parametrize("name", [name for name in VERBS if name != "setup"])
def test_a_verb_runs_the_module_that_make_runs(name):
    lines = re.search(rf"^{name}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)[1].splitlines()
    recipe = next((line for line in lines if " -m " in line), lines[0])
    if name == "doctor":
        recipe = re.search(r"^DOCTOR := (.+)$", MAKEFILE, re.MULTILINE)[1]
    assert recipe.partition(" -m ")[2] == VERBS[name].command


def test_every_variable_has_a_meaning_and_no_other_is_in_the_table():
    read = {name for verb in VERBS.values() for name in verb.reads}
    assert read | set(EITHER) - {"PYTHON"} == set(VARIABLES)
    assert variables("EITHER") == [] and re.search(r"^EITHER := (.+)$", MAKEFILE, re.MULTILINE)[1].split() == [*EITHER]


def test_verbs_that_need_the_checkout_are_not_in_tsi():
    needs = {"test", "coverage", "mutants", "lint", "docs", "setup", "fuzz", "faults", "compare"}
    assert needs == set(VERBS) - set(TOOL)
