"""Whether a reply is acceptable, and what is wrong with it if not. Knows the promises, not the requests' contents.

Acceptable are: 2xx with an answer of the right form, which must be the right answer if that is known; 4xx with
``code``, ``type`` and ``message``; 4xx with ``error`` from the Open Inference Protocol. Where HTTP itself is broken, no
answer at all is acceptable too.
"""

from __future__ import annotations

import json
from typing import Any

from tests.trust.fuzz import explanations
from tests.trust.fuzz.case import Case, Reply
from tests.trust.fuzz.good import Golden, well_formed


def fault(case: Case, reply: Reply, golden: Golden) -> str | None:
    """The fault of the reply: "5xx", "wrong answer", "no answer", "bad error body", or None."""
    if reply.status >= 500:
        return "5xx"
    if case.golden:
        return None if _is_right(case, reply, golden) else "wrong answer"
    if reply.status == 0:
        return None if case.raw else "no answer"
    if 200 <= reply.status < 300:
        if case.refused:
            return "wrong answer"
        return None if _is_answer(case, reply) else "wrong answer"
    return None if reply.status >= 400 and _is_refusal(case, reply) else "bad error body"


def _is_right(case: Case, reply: Reply, golden: Golden) -> bool:
    try:
        return reply.status == 200 and golden.is_right(case.golden, json.loads(reply.body))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return False


def _is_answer(case: Case, reply: Reply) -> bool:
    if case.raw:  # a HEAD, a description, a health check: any JSON object, or the empty body of an answer to HEAD
        return not reply.body or isinstance(_parsed(reply), dict)
    form = explanations.well_formed if case.kind == "explanation" else well_formed
    return reply.by_handler and form(_parsed(reply))


def _is_refusal(case: Case, reply: Reply) -> bool:
    body = _parsed(reply)
    if not isinstance(body, dict):
        return case.raw[:4] == b"HEAD"
    if case.in_tensors or (case.raw and "error" in body):
        return body.keys() == {"error"} and isinstance(body["error"], str) and body["error"] != ""
    said = body.keys() == {"code", "type", "message"} and body["code"] == reply.status
    return said and all(isinstance(body[key], str) and body[key] for key in ("type", "message"))


def _parsed(reply: Reply) -> Any:
    try:
        return json.loads(reply.body)
    except ValueError:
        return None
