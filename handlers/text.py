"""Tokenizes texts. The worker, export and tests use the same functions.

Knows tokenization and padding. Takes its limits as arguments and never imports TorchServe or torch.
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

LIKE_LENGTH = 1.25  # largest ratio of the longest text of a group to its shortest, in tokens
Around = tuple[str, str] | None  # TextEncoder.around
# Up to so many texts are tokenized by the calling thread. More texts are shared among the tokenizer's own threads, and
# waking them takes time: on a host of 16 cores, one text took 87 us with them.
FEW_TEXTS = 2


@dataclass(frozen=True)
class Tokens:
    """A padded batch. ``input_ids``, ``attention_mask`` and ``token_type_ids`` are int64 [N, L]; ``truncated`` is
    bool [N]. With offsets, ``encodings`` has the tokenizer's record of each row, and ``texts`` has the text of each
    item. The offsets are in characters of that text."""

    input_ids: np.ndarray
    attention_mask: np.ndarray
    truncated: np.ndarray
    token_type_ids: np.ndarray
    encodings: tuple[Encoding, ...] = ()
    texts: tuple[str, ...] = ()

    def arrays(self) -> tuple[np.ndarray, ...]:
        """The arrays, in the order of the fields."""
        return self.input_ids, self.attention_mask, self.truncated, self.token_type_ids


def read_texts(
    payload: Payload, max_chars: int, max_total_chars: int, fields: tuple[str, ...] = ()
) -> list[str | tuple[str, ...]]:
    """Returns the payload's texts. None is blank or longer than ``max_chars``, or all together ``max_total_chars``.

    With ``fields``, an item may also be an object with a text under each of these names; it becomes a tuple of texts.
    The total is limited because dozens of very long texts take longer to tokenize than TorchServe's response timeout.

    Raises RequestError for a body that is not UTF-8 and for an item that is blank or no string. Raises TooLarge for
    texts that are too long.
    """
    items = [_decode(payload.raw)] if payload.raw is not None else list(payload.items)
    texts = [_item(item, name_of("text", index, len(items)), max_chars, fields) for index, item in enumerate(items)]
    check_total(sum(len(each) if isinstance(each, str) else sum(map(len, each)) for each in texts), max_total_chars)
    return texts


def name_of(what: str, index: int, count: int) -> str:
    """The name of item ``index`` of ``count`` in an error message."""
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
    """``item``, if it is a non-blank string of at most ``max_chars`` characters. ``name`` is its name in an error.

    Raises RequestError or TooLarge.
    """
    if not isinstance(item, str):
        raise RequestError(f"{name} is {kind_of(item)}; expected a string.")
    if not item.strip():
        raise RequestError(f"{name} is blank; send at least one character.")
    if len(item) > max_chars:
        raise TooLarge(f"{name} has {len(item)} characters; at most {max_chars} are accepted: split it.")
    return item


def check_total(total: int, max_total_chars: int) -> None:
    """Raises TooLarge if a request's texts have too many characters in total."""
    if total > max_total_chars:
        raise TooLarge(
            f"The texts have {total} characters together; at most {max_total_chars} are accepted: send several "
            "requests."
        )


def groups_of_like_length(lengths: np.ndarray) -> list[np.ndarray]:
    """The row numbers of ``lengths``, int [N], in groups of similar length, shortest first. No row of a group is padded
    by more than a quarter."""
    order = np.argsort(lengths, kind="stable")
    groups, first = [], 0
    for at in range(1, len(order) + 1):
        if at == len(order) or lengths[order[at]] > LIKE_LENGTH * lengths[order[first]]:
            groups.append(order[first:at])
            first = at
    return groups


class TextEncoder:
    """Tokenizes batches of texts or pairs of texts with a fast tokenizer (the library ``tokenizers``). Sequences are
    truncated to ``max_length`` tokens; in a pair, the longer text is truncated."""

    def __init__(self, tokenizer_file: Path, max_length: int, pad_id: int) -> None:
        self._max_length = max_length
        self._tokenizer = Tokenizer.from_file(str(tokenizer_file))
        self._tokenizer.enable_truncation(max_length)
        # ``padded`` pads the batch: a tokenizer's own settings may pad to a fixed length.
        self._tokenizer.no_padding()
        self._pad_id = pad_id
        # WordPiece decodes a token after this one as it does in the middle of a text.
        self._before = self._tokenizer.token_to_id("a") if isinstance(self._tokenizer.decoder, WordPiece) else None
        # Caches of decoded tokens, each at most as large as the vocabulary: tokens in the middle of a text, at its
        # beginning, and alone.
        self._pieces: dict[int, str] = {}
        self._firsts: dict[int, str] = {}
        self._alone: dict[int, str] = {}

    def encode(self, texts: Sequence[str | tuple[str, str]], offsets: bool = False) -> Tokens:
        """The batch, padded to its longest text. ``offsets``: keep the tokenizer's records and the texts. In a pair,
        the offsets of each text start at 0, and ``Tokens.texts`` has the first text."""
        alone = [each for each in texts if isinstance(each, str)]
        encodings = iter(self._singles(alone, offsets))
        pairs = iter(self._pairs([each for each in texts if not isinstance(each, str)], offsets))
        found = [next(encodings if isinstance(each, str) else pairs) for each in texts]
        return self.padded(found, [each if isinstance(each, str) else each[0] for each in texts] if offsets else ())

    def _singles(self, texts: Sequence[str], offsets: bool) -> list[Encoding]:
        if len(texts) <= FEW_TEXTS:
            return [self._tokenizer.encode(text) for text in texts]
        # encode_batch_fast computes no offsets.
        return (self._tokenizer.encode_batch if offsets else self._tokenizer.encode_batch_fast)(texts)

    def _pairs(self, pairs: Sequence[tuple[str, str]], offsets: bool = False) -> list[Encoding]:
        """Each pair of texts as one sequence of at most ``max_length`` tokens.

        A tokenizer that truncates both texts of a pair also returns every combination of their truncated parts:
        thousands of unused sequences for two long texts. So both texts are cut before they are joined.
        """
        if not pairs:
            return []
        parts = self._plain([text for pair in pairs for text in pair], offsets)
        joined = []
        for first, second in zip(parts[::2], parts[1::2], strict=True):
            # The longer text has to stay the longer one, since post_process truncates that one.
            more = len(first) - len(second)
            first.truncate(self._max_length + 1 + (more > 0))
            second.truncate(self._max_length + 1 + (more < 0))
            joined.append(self._tokenizer.post_process(first, second))
        return joined

    def _plain(self, texts: Sequence[str], offsets: bool = False) -> list[Encoding]:
        """The tokens of each text, without truncation and special tokens."""
        self._tokenizer.no_truncation()
        try:
            encode = self._tokenizer.encode_batch if offsets else self._tokenizer.encode_batch_fast
            return encode(texts, add_special_tokens=False)
        finally:
            self._tokenizer.enable_truncation(self._max_length)

    def padded(self, encodings: Sequence[Encoding], texts: Sequence[str] = ()) -> Tokens:
        """The batch of ``encodings``, padded to the longest. With ``texts``, the encodings and texts are kept."""
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
        kept = tuple(encodings) if texts else ()
        return Tokens(input_ids, attention_mask, truncated, types, kept, tuple(texts))

    def decode(self, ids: list[int]) -> str:
        """The text of token ids, without special tokens."""
        return self._tokenizer.decode(ids, skip_special_tokens=True)

    def decode_token(self, token_id: int) -> str:
        """The text of one token; for a special token, its name."""
        if token_id not in self._alone:
            self._alone[token_id] = self._tokenizer.decode([token_id], skip_special_tokens=False)
        return self._alone[token_id]

    def around(self, ids: list[int], place: int) -> Around:
        """The text before and after the position ``place`` of token ids, for ``decode_with``.

        WordPiece decodes each token independently, so this text is the same for all tokens at that position. None for
        other tokenizers, and if there is no text before the position.
        """
        if self._before is None:
            return None
        for at, token_id in enumerate(ids[:place]):
            if first := self._first(token_id):
                return first + self._text(ids[at + 1 : place]), self._text(ids[place + 1 :])
        return None

    def decode_with(self, ids: list[int], place: int, token_ids: list[int], around: Around) -> list[str]:
        """``decode(ids)`` for each of ``token_ids``, with that token at the position ``place``."""
        if around is None:
            return [self.decode([*ids[:place], token_id, *ids[place + 1 :]]) for token_id in token_ids]
        return [around[0] + self._text([token_id]) + around[1] for token_id in token_ids]

    def _first(self, token_id: int) -> str:
        """The text of a token at the beginning of a text; empty for a special token."""
        if token_id not in self._firsts:
            self._firsts[token_id] = self.decode([token_id])
        return self._firsts[token_id]

    def _text(self, ids: list[int]) -> str:
        """The text of tokens after another token. This is several times faster than the tokenizer's decoding."""
        pieces = self._pieces
        for token_id in ids:
            if token_id not in pieces:
                assert self._before is not None  # ``around`` checks it
                pieces[token_id] = self.decode([self._before, token_id])[1:]
        return "".join([pieces[token_id] for token_id in ids])

    def decode_whole(self, ids: list[int], position: int, token_ids: list[int]) -> list[str]:
        """The text of ``ids``, special tokens included, for each of ``token_ids`` at ``position``."""
        head, tail = ids[:position], ids[position + 1 :]
        return [self._tokenizer.decode([*head, each, *tail], skip_special_tokens=False) for each in token_ids]

    def join(self, tokens: list[str]) -> str:
        """The text of vocabulary entries, special tokens included."""
        decoder = self._tokenizer.decoder
        return " ".join(tokens) if decoder is None else decoder.decode(tokens)

    @property
    def marks_pieces(self) -> bool:
        """Whether entries that continue a word have a prefix, such as WordPiece's "##"."""
        return bool(getattr(self._tokenizer.model, "continuing_subword_prefix", None))

    def token(self, token_id: int) -> str:
        """The vocabulary entry of an id."""
        return self._tokenizer.id_to_token(token_id) or ""

    def token_id(self, token: str) -> int | None:
        """The id of a vocabulary entry, or None."""
        return self._tokenizer.token_to_id(token)

    def named_token(self, text: str) -> int | None:
        """The id of ``text`` if it is a single token or a vocabulary entry; else None."""
        (ids,) = (each.ids for each in self._plain([text]))
        return ids[0] if len(ids) == 1 else self.token_id(text)
