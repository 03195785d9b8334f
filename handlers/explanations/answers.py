"""Writes explanations as JSON, or as a PNG of the image with its attributions drawn over it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from handlers.errors import NotAcceptable
from handlers.explanations import Attributions, Chosen
from handlers.explanations.overlay import overlay
from handlers.hooks import as_json
from handlers.open_inference import MOST_BYTES
from handlers.open_inference.answer import Response
from handlers.requests import Form

if TYPE_CHECKING:
    from handlers.batch import Batch
    from handlers.text import TextEncoder

MOST_VALUES = MOST_BYTES // 14  # attributions in one JSON answer; each takes up to 14 characters
HEADER = "x-explanation"  # of a PNG: the explanation's JSON without the attributions
MAP = "attributions"
PNG, JSON = "image/png", "application/json"


def wants_png(headers: Mapping[str, Any], is_image: bool) -> bool:
    """Whether a request's Accept prefers a PNG to JSON. Raises NotAcceptable if it excludes JSON for a text."""
    accept = next((str(value) for name, value in headers.items() if name.lower() == "accept"), "")
    png, plain = (_quality(accept, kind) for kind in (PNG, JSON))
    if png <= plain or not accept:
        return False
    if not is_image:
        if plain == 0:
            raise NotAcceptable(f"Texts are explained in JSON; ask for {JSON} in the header Accept, or leave it out.")
        return False
    return True


def _quality(accept: str, kind: str) -> float:
    """The quality value of a media type in an Accept header, 0 to 1, by the most specific range (RFC 9110, 12.5.1)."""
    found: dict[str, float] = {}
    for each in accept.split(","):
        name, *parameters = (part.strip().lower() for part in each.split(";"))
        given = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        try:
            found[name] = float(given)
        except ValueError:
            found[name] = 0.0
    return next((found[name] for name in (kind, f"{kind.split('/')[0]}/*", "*/*") if name in found), 0.0)


def explanation(
    chosen: Chosen, attributed: Attributions, options: Mapping[str, Any], batch: Batch, encoder: TextEncoder | None
) -> dict[str, Any]:
    """The explanation of one item as a JSON object, with the attributions of its tokens or pixels."""
    values = attributed.values
    if encoder is None:
        parts = {"shape": list(values.shape), MAP: values}
    else:
        parts = {"tokens": _tokens(values, batch.context.encodings[chosen.row], chosen.parts, encoder)}
    return {
        "prediction": chosen.prediction,
        "output": chosen.output,
        "value": attributed.value,
        "baseline_value": attributed.baseline_value,
        "completeness_error": {"absolute": attributed.error, "relative": attributed.relative_error},
        "baseline": options["baseline"],
        "steps": options["steps"],
        **parts,
    }


def _tokens(values: np.ndarray, encoding: Any, parts: Sequence[str], encoder: TextEncoder) -> list[dict[str, Any]]:
    """The tokens with their attributions. Special tokens are left out: they are the same in the baseline."""
    found = []
    for at in np.flatnonzero(np.equal(encoding.special_tokens_mask, 0)).tolist():
        start, end = encoding.offsets[at]
        # tokenizers gives None as the number of the first text if both were cut before they were joined.
        part = {"part": parts[encoding.sequence_ids[at] or 0]} if encoding.n_sequences > 1 else {}
        token = {"token": encoder.decode_token(encoding.ids[at]), **part, "start": start, "end": end}
        found.append(token | {"attribution": float(values[at])})
    return found


def write(found: Sequence[dict[str, Any]], form: Form, pixels: np.ndarray | None = None) -> Response:
    """The answer in the form of its request. With ``pixels``, uint8 [H, W, 3], it is a PNG of the only explanation."""
    if pixels is not None:
        rest = {name: value for name, value in found[0].items() if name != MAP}
        return Response(overlay(pixels, found[0][MAP]), PNG, {HEADER: json.dumps(rest)})
    return Response(as_json({"explanation": found[0]} if form is Form.SINGLE else {"explanations": list(found)}))
