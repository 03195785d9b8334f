"""The files of deploy/monitoring: rules that promtool tests, no raw counters, and an up-to-date dashboard that shows
only existing records."""

import json
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from tests.conftest import ROOT

MONITORING = ROOT / "deploy" / "monitoring"
RULES = [rule for group in yaml.safe_load((MONITORING / "rules.yml").read_text())["groups"] for rule in group["rules"]]
PANELS = [each for each in json.loads((MONITORING / "dashboard.json").read_text())["panels"] if each["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
# A counter as Prometheus exposes it. The names of records have a colon and hold rates.
COUNTER = re.compile(r"(?<![\w:])tsi_\w+_(?:total|count|sum|bucket)\b")
OVER_TIME = re.compile(r"\b(?:rate|increase)\(\s*" + COUNTER.pattern + r"(?:\{[^}]*\})?\[\w+\]\)")


@pytest.fixture
def promtool():
    if not (found := shutil.which("promtool")):
        pytest.skip("promtool is not on PATH; on Debian: apt-get install prometheus")
    return found


@pytest.mark.parametrize("arguments", [("check", "config", "prometheus.yml"), ("test", "rules", "rules_test.yml")])
def test_promtool_finds_nothing_wrong(promtool, arguments):
    done = subprocess.run([promtool, *arguments], cwd=MONITORING, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_has_a_test_and_every_alert_a_cure():
    tests = (MONITORING / "rules_test.yml").read_text()
    for rule in RULES:
        assert re.search(rf"\b{rule.get('record') or rule['alert']}\b", tests), rule
        assert "alert" not in rule or rule["annotations"].keys() == {"summary", "cure"}


@pytest.mark.parametrize("expression", [*(rule["expr"] for rule in RULES), *QUERIES])
def test_counters_are_read_as_rates_only(expression):
    assert not COUNTER.search(OVER_TIME.sub("", expression))


def test_the_check_for_raw_counters_finds_one():
    for raw in ("tsi_errors_total > 5", 'sum(tsi_batch_size_sum{model="m"})', "rate(x[5m]) / tsi_batch_size_count"):
        assert COUNTER.search(OVER_TIME.sub("", raw))
    assert not COUNTER.search(OVER_TIME.sub("", 'sum(rate(tsi_errors_total{kind="a"}[5m]))'))


def test_the_dashboard_is_what_its_script_prints():
    if sys.version_info < (3, 11):
        pytest.skip("grafana-foundation-sdk needs Python 3.11")
    command = [sys.executable, str(MONITORING / "dashboard.py")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    shown = "run: python deploy/monitoring/dashboard.py > deploy/monitoring/dashboard.json"
    assert printed == (MONITORING / "dashboard.json").read_text(), shown


def test_the_dashboard_shows_every_record():
    records = {rule["record"] for rule in RULES if "record" in rule}
    assert records == {name for query in QUERIES for name in re.findall(r"\bmodel\w*:\w+:\w+", query)}
