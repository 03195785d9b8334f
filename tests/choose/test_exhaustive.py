"""The exhaustive table: what is kept of an earlier run, and what the page shows of the published one."""

import json
from dataclasses import asdict

import pytest

from bench.published import renewed
from choose import published, table_file
from choose.errors import ChooseError
from choose.request import Request
from choose.table import Table, simulate
from tests.choose.recorded import outcome, space
from tests.loadtest.synthetic import ENVIRONMENT

ASKED = Request(("digits",))
FACTS = {**ENVIRONMENT, "date": "2026-01-02T03:04:05+00:00"}


@pytest.fixture
def written(tmp_path):
    """A result of the hand-made space, as a run writes it."""
    made, path = space(), tmp_path / "table.json"
    kept = {each.key: [asdict(outcome(each))] for each in made.all()}
    found = simulate(Table(ASKED, made, table_file.outcomes(made, kept)), seeds=2)
    table_file.write(path, ASKED, made, FACTS, kept, search=found)
    return path


def question(asked=ASKED):
    return json.loads(json.dumps(table_file.question(asked, space(), FACTS)))


def test_a_run_that_was_cut_off_goes_on_and_another_question_is_refused(written):
    kept = table_file.read(written, question())
    assert table_file.outcomes(space(), kept) == {each: [outcome(each)] for each in space().all()}
    with pytest.raises(ChooseError, match="holds another measurement"):
        table_file.read(written, question(Request(("digits",), slo_p99_ms=50.0)))
    assert table_file.read(written.with_name("none.json"), question()) == {}


def test_the_page_has_the_section_that_the_script_writes():
    page = published.PAGE.read_text()
    assert renewed(page, published.NAME, published.section(), published.MODULE) == page


def test_the_section_is_made_of_the_result_and_claims_nothing_without_one(written, tmp_path):
    assert published.section(tmp_path / "none.json") == published.NONE
    text, found = published.section(written), json.loads(written.read_text())
    best = found["search"]["optimum"]
    assert text.startswith(f"Of 24 configurations, the best has {best:g} requests/s: the optimum. ")
    assert "After 6 trials (25%), over 2 seeds, the search reaches " in text
    assert text.count("\n| ") == 1 + 6 and "is met." in text and "measured 1 time:" in text
    found["search"]["search"]["median"] = 0.9
    written.write_text(json.dumps(found))
    assert "is missed." in published.section(written)
