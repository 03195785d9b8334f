"""Texts in, token ids out: the same functions for the worker, for export and for tests.

Knows tokenization and padding; takes its limits as arguments and never imports TorchServe or torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Encoding, Tokenizer
from tokenizers.decoders import WordPiece

from handlers.errors import RequestError, TooLarge
from handlers.requests import Payload, kind_of

LIKE_LENGTH = 1.25  # of a group's shortest text, what its longest may have


@dataclass(frozen=True)
class Tokens:
    """A padded batch. ``input_ids``, ``attention_mask`` and ``token_type_ids`` are int64 [N, L]; ``truncated`` is
    bool [N]. ``encodings`` has the tokenizer's own record of each row where offsets into the text were asked for."""

    input_ids: np.ndarray
    attention_mask: np.ndarray
    truncated: np.ndarray
    token_type_ids: np.ndarray
    encodings: tuple[Encoding, ...] = ()

    def arrays(self) -> tuple[np.ndarray, ...]:
        """The arrays, in the order of the fields."""
        return self.input_ids, self.attention_mask, self.truncated, self.token_type_ids


def read_texts(
    payload: Payload, max_chars: int, max_total_chars: int, fields: tuple[str, ...] = ()
) -> list[str | tuple[str, ...]]:
    """Returns the payload's texts, each non-blank and at most ``max_chars`` long, all at most ``max_total_chars``.

    With ``fields``, an item may also be an object with a text under each of these names; it becomes a tuple of texts.
    Raises RequestError for a body that is not UTF-8, an item that is no string or blank; TooLarge for a long one, or
    too many: tokenizing some dozens of the longest outlasts TorchServe's patience, which kills the worker.
    """
    items = [_decode(payload.raw)] if payload.raw is not None else list(payload.items)
    texts = [_item(item, name_of("text", index, len(items)), max_chars, fields) for index, item in enumerate(items)]
    check_total(sum(len(each) if isinstance(each, str) else sum(map(len, each)) for each in texts), max_total_chars)
    return texts


def name_of(what: str, index: int, count: int) -> str:
    """What an error's sentence calls item ``index`` of ``count``."""
    return f"The {what}" if count == 1 else f"{what.capitalize()} {index}"


def _decode(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(
            f"The body is not UTF-8 text (byte {error.start} is 0x{raw[error.start]:02x}); encode it as UTF-8."
        ) from None


def _item(item: Any, name: str, max_chars: int, fields: tuple[str, ...]) -> str | tuple[str, ...]:
    if not fields or not isinstance(item, dict):
        return checked_text(item, name, max_chars)
    for field in fields:
        if field not in item:
            raise RequestError(f'{name} is an object without "{field}"; expected {" and ".join(fields)}.')
    return tuple(checked_text(item[field], f'{name}\'s "{field}"', max_chars) for field in fields)


def checked_text(item: Any, name: str, max_chars: int) -> str:
    """``item`` if it is a non-blank string of at most ``max_chars``; an error's sentence calls it ``name``.

    Raises RequestError or TooLarge.
    """
    if not isinstance(item, str):
        raise RequestError(f"{name} is {kind_of(item)}; expected a string.")
    if not item.strip():
        raise RequestError(f"{name} is blank; send at least one character.")
    if len(item) > max_chars:
        raise TooLarge(f"{name} has {len(item)} characters; at most {max_chars} are taken: split it.")
    return item


def check_total(total: int, max_total_chars: int) -> None:
    """Raises TooLarge where a request's texts have too many characters together."""
    if total > max_total_chars:
        raise TooLarge(
            f"The texts have {total} characters together; at most {max_total_chars} are taken: send several requests."
        )


def groups_of_like_length(lengths: np.ndarray) -> list[np.ndarray]:
    """Row numbers of int [N] ``lengths`` in groups, shortest first, in which none is padded by more than a quarter."""
    order = np.argsort(lengths, kind="stable")
    groups, first = [], 0
    for at in range(1, len(order) + 1):
        if at == len(order) or lengths[order[at]] > LIKE_LENGTH * lengths[order[first]]:
            groups.append(order[first:at])
            first = at
    return groups


class TextEncoder:
    """Tokenizes batches of texts or pairs of texts with a ``tokenizers`` fast tokenizer, truncating at ``max_length``
    tokens. Of a pair, the longer text is truncated."""

    def __init__(self, tokenizer_file: Path, max_length: int, pad_id: int) -> None:
        self._tokenizer = Tokenizer.from_file(str(tokenizer_file))
        self._tokenizer.enable_truncation(max_length)
        # Padded here and not by the tokenizer: its packaged settings may pad to a fixed length.
        self._tokenizer.no_padding()
        self._pad_id = pad_id
        # A token after which each other one is decoded as it would be within a text.
        self._before = self._tokenizer.token_to_id("a") if isinstance(self._tokenizer.decoder, WordPiece) else None
        self._pieces: dict[int, str] = {}

    def encode(self, texts: Sequence[str | tuple[str, str]], offsets: bool = False) -> Tokens:
        """One tokenizer call for the batch, padded to its longest text. ``offsets``: keep the tokenizer's records."""
        # encode_batch_fast is the same without offsets into the text.
        encode = self._tokenizer.encode_batch if offsets else self._tokenizer.encode_batch_fast
        return self.padded(encode(texts), offsets)

    def padded(self, encodings: Sequence[Encoding], offsets: bool = False) -> Tokens:
        """The batch of these encodings, padded to the longest."""
        rows = [encoding.ids for encoding in encodings]
        shape = (len(rows), max(map(len, rows)))
        input_ids = np.full(shape, self._pad_id, dtype=np.int64)
        attention_mask, types = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for row, ids in enumerate(rows):
            input_ids[row, : len(ids)] = ids
            attention_mask[row, : len(ids)] = 1
            if encodings[row].n_sequences > 1:
                types[row, : len(ids)] = encodings[row].type_ids
        truncated = np.array([bool(encoding.overflowing) for encoding in encodings])
        return Tokens(input_ids, attention_mask, truncated, types, tuple(encodings) if offsets else ())

    def decode(self, ids: list[int]) -> str:
        """Token ids back to text, special tokens left out."""
        return self._tokenizer.decode(ids, skip_special_tokens=True)

    def decode_with(self, ids: list[int], position: int, token_ids: list[int]) -> list[str]:
        """``decode(ids)`` with each of ``token_ids`` in turn in the place ``position``.

        WordPiece decodes token by token, so what lies around that place is decoded once for all of them.
        """
        head, tail = ids[:position], ids[position + 1 :]
        start = self.decode(head)
        if self._before is None or not start:
            return [self.decode([*head, token_id, *tail]) for token_id in token_ids]
        end = self._within(tail)
        for token_id in token_ids:
            if token_id not in self._pieces:
                self._pieces[token_id] = self._within([token_id])
        return [start + self._pieces[token_id] + end for token_id in token_ids]

    def decode_whole(self, ids: list[int], position: int, token_ids: list[int]) -> list[str]:
        """``ids`` as text, special tokens kept, with each of ``token_ids`` in turn in the place ``position``."""
        head, tail = ids[:position], ids[position + 1 :]
        return [self._tokenizer.decode([*head, each, *tail], skip_special_tokens=False) for each in token_ids]

    def _within(self, ids: list[int]) -> str:
        """What ``ids`` add to a text that has begun."""
        return self.decode([self._before, *ids])[1:]

    def token(self, token_id: int) -> str:
        """The vocabulary entry of an id."""
        return self._tokenizer.id_to_token(token_id) or ""

    def token_id(self, token: str) -> int | None:
        """The id of a vocabulary entry, or None."""
        return self._tokenizer.token_to_id(token)
