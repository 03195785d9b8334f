"""Requests for explanations: to archives that give none, which must refuse them, and to those of the variant
``explain`` if VARIANTS has it."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from export.cases import SAMPLES
from handlers.explanations import VARIANT
from tests.trust.fuzz.case import Case
from tests.trust.fuzz.images import spoilt
from tests.trust.fuzz.texts import bodies

URLS = ("/explanations/{0}", "/explanations/{0}/1.0", "/v1/models/{0}:explain")
SEVEN = base64.b64encode((SAMPLES / "seven.png").read_bytes()).decode()
# Few steps, since each is a forward and a backward pass.
STEPS = (1, 3, "2", 0, -1, 301, 10**12, 1.5, None, True, [], {}, "x", "٣", "1e2")
BASELINES = ("pad", "zero", "black", "white", "mean", "", "nothing", 0, None, [], {"a": 1})
TARGETS = ("7", "a text", "", " ", "\x00", "é" * 20_000, 7, -1, None, [], {"a": 1}, "[MASK]", "no such label")
ITEMS = ("hello", SEVEN, ["hello"] * 9, [SEVEN] * 9, ["hello", SEVEN], [], "", 7, None, {"text": "a"})


def _asked(key: str, item: Any, options: dict[str, Any]) -> Case:
    body = {key: item, "parameters": {"steps": 2, **options}}
    return Case("explanation", body=json.dumps(body).encode(), content_type="application/json")


options = st.fixed_dictionaries(
    {},
    optional={"steps": st.sampled_from(STEPS), "baseline": st.sampled_from(BASELINES),
              "target": st.sampled_from(TARGETS), "top_k": st.just(1)},
)  # fmt: skip
asked = st.builds(_asked, st.sampled_from(("text", "image", "instances", "inputs")), st.sampled_from(ITEMS), options)
raw = st.builds(lambda body: Case("explanation", body=body), st.one_of(bodies, spoilt, st.just(b"")))


def cases(names: Sequence[str]) -> st.SearchStrategy[Case]:
    """Requests for explanations to the archives of these names. An archive without explanations must refuse them."""
    return st.builds(_sent, st.one_of(asked, asked, raw), st.sampled_from(URLS), st.sampled_from(names))


def _sent(case: Case, url: str, name: str) -> Case:
    return replace(case, target=url.format(name), refused=not name.endswith(f"-{VARIANT}"))


def well_formed(answer: Any) -> bool:
    """Whether a JSON value has the form of an answer, complete within its own stated error."""
    if not isinstance(answer, dict) or len(answer) != 1:
        return False
    found = answer["explanations"] if "explanations" in answer else [answer.get("explanation")]
    return bool(found) and all(isinstance(each, dict) and _is_whole(each) for each in found)


def _is_whole(found: dict[str, Any]) -> bool:
    rows = [[each["attribution"] for each in found["tokens"]]] if "tokens" in found else found["attributions"]
    parts = [value for row in rows for value in row]
    difference, error = found["value"] - found["baseline_value"], found["completeness_error"]["absolute"]
    return abs(abs(sum(parts) - difference) - error) <= 1e-3 * max(1.0, abs(difference), *map(abs, parts))
