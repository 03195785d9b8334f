"""decision.json's published schema, for the tests that make decisions."""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator

from tests.conftest import ROOT

PATH = ROOT / "docs" / "decision.schema.json"
SCHEMA: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))


def problems(decision: Any) -> list[str]:
    """The parts of a decision that do not conform to the schema."""
    found = Draft202012Validator(SCHEMA).iter_errors(decision)
    return [f"{each.json_path}: {each.message[:200]}" for each in found]
