"""Checks token ids that a client made, and pads them to a batch. A wrong id would index beyond the model's tables.

An attention mask has to be ones and then zeros. A row is cut at the end of its mask, so that padding does not count for
its cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from handlers.errors import RequestError
from handlers.open_inference import Tensor
from handlers.settings import TextInput

IDS, MASK, TYPES, PLACE = "input_ids", "attention_mask", "token_type_ids", "mask_position"


@dataclass(frozen=True)
class Row:
    """One sequence: ``ids`` and ``types``, int64 [tokens], and ``place``, the position of its mask token. ``place`` is
    -1 for tasks other than fill-mask."""

    ids: np.ndarray
    types: np.ndarray
    place: int


def read_rows(tensors: Mapping[str, Tensor], text: TextInput, mask_id: int | None = None) -> list[Row]:
    """The rows of a request. ``mask_id`` is set for fill-mask only. A request may leave out the positions of the mask
    tokens; they are then the first mask token of each row.

    Raises RequestError.
    """
    if IDS not in tensors:
        raise RequestError(f'The input "{IDS}" is missing; send it with the other inputs.')
    ids = tensors[IDS].values.astype(np.int64)
    mask, types = _like(tensors, MASK, ids, 1), _like(tensors, TYPES, ids, 0)
    if ids.shape[1] > text.max_length:
        raise RequestError(f'"{IDS}" has {ids.shape[1]} tokens in a row; this model takes {text.max_length}.')
    _check(IDS, (ids < 0) | (ids >= text.vocabulary), f"has an id that is not from 0 to {text.vocabulary - 1}")
    _check(TYPES, (types < 0) | (types > 1), "has a value that is neither 0 nor 1")
    ends = np.diff(mask, axis=1, prepend=1) > 0  # a one after a zero
    _check(MASK, (mask < 0) | (mask > 1) | ends | (mask[:, :1] == 0), "is not ones and then zeros; pad on the right")
    lengths = mask.sum(axis=1)
    if PLACE in tensors and len(tensors[PLACE].values) != len(ids):
        raise RequestError(f'"{PLACE}" has another number of rows than "{IDS}".')
    places = np.full(len(ids), -1) if mask_id is None else _places(tensors, ids, lengths, mask_id)
    found = zip(ids, types, lengths.tolist(), places.tolist(), strict=True)
    return [Row(row[:length], kinds[:length], place) for row, kinds, length, place in found]


def _like(tensors: Mapping[str, Tensor], name: str, ids: np.ndarray, default: int) -> np.ndarray:
    """The tensor ``name``, int64 of the shape of ``ids``; filled with ``default`` if the request does not have it."""
    if name not in tensors:
        return np.full_like(ids, default)
    if tensors[name].shape != ids.shape:
        raise RequestError(f'"{name}" has another shape than "{IDS}".')
    return np.asarray(tensors[name].values, np.int64)


def _check(name: str, wrong: np.ndarray, what: str) -> None:
    if wrong.any():
        raise RequestError(f'Row {int(wrong.any(axis=1).argmax())} of "{name}" {what}.')


def _places(tensors: Mapping[str, Tensor], ids: np.ndarray, lengths: np.ndarray, mask_id: int) -> np.ndarray:
    within = np.arange(ids.shape[1]) < lengths[:, None]
    if PLACE not in tensors:
        at_mask = (ids == mask_id) & within
        _check(IDS, ~at_mask.any(axis=1, keepdims=True), f'has no mask token (id {mask_id}); add one or send "{PLACE}"')
        return np.asarray(at_mask.argmax(axis=1))
    places = np.asarray(tensors[PLACE].values, np.int64).reshape(-1)
    outside = (places < 0) | (places >= lengths)
    _check(PLACE, outside[:, None], "is not the position of a token")
    return places


def padded(rows: Sequence[Row], pad_id: int) -> dict[str, np.ndarray]:
    """The batch by the names of the model's inputs, int64 [N, L]; the mask positions are int64 [N]."""
    shape = (len(rows), max(len(row.ids) for row in rows))
    ids, mask, types = np.full(shape, pad_id, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for at, row in enumerate(rows):
        ids[at, : len(row.ids)], mask[at, : len(row.ids)], types[at, : len(row.ids)] = row.ids, 1, row.types
    return {IDS: ids, MASK: mask, TYPES: types, PLACE: np.array([row.place for row in rows], np.int64)}
