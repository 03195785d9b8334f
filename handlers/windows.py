"""Splits a question with a long text into overlapping windows of token ids."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Encoding

from handlers.errors import RequestError, TooLarge
from handlers.text import TextEncoder, Tokens

OVERLAP = 128  # tokens that two neighbouring windows share; at most half of the tokens that a window has for the text


@dataclass(frozen=True)
class Windows:
    """A text in overlapping windows. Each window starts with the question.

    ``encodings`` has the tokenizer's record of each window, with the question and special tokens. ``firsts`` has, for
    each window, the index of its first token in the tokens of the text.
    """

    text: str
    encodings: tuple[Encoding, ...]
    firsts: tuple[int, ...]


@dataclass(frozen=True)
class WindowTokens(Tokens):
    """A padded batch of windows; ``firsts`` is ``Windows.firsts`` of each row."""

    firsts: tuple[int, ...] = ()


class WindowEncoder(TextEncoder):
    """Tokenizes a question with a text of any length, in windows of ``max_length`` tokens."""

    def windows(self, question: str, text: str, name: str, most_windows: int = sys.maxsize) -> Windows:
        """The windows of ``text``, each with the whole question. ``name`` is the name of the question in an error.

        Raises RequestError for a question that leaves no tokens for the text and for a text without tokens. Raises
        TooLarge for more than ``most_windows`` windows.
        """
        tokenizer = self._tokenizer
        asked, count = map(len, self._plain([question, text]))
        most = self._max_length - tokenizer.num_special_tokens_to_add(True) - 1
        if asked > most:
            raise RequestError(f"{name} has {asked} tokens; at most {most} are accepted: shorten it.")
        room = most + 1 - asked
        overlap = min(OVERLAP, room // 2)
        context = f"The context of {name[0].lower()}{name[1:]}"
        if not count:
            raise RequestError(f"{context} has no character that the model knows; send other text.")
        needed = 1 + max(0, -(-(count - room) // (room - overlap)))
        if needed > most_windows:
            raise TooLarge(
                f"{context} makes {needed} windows of {self._max_length} tokens; at most {most_windows} are left in "
                "the request: shorten the question or the context, or send several requests."
            )
        tokenizer.enable_truncation(self._max_length, stride=overlap, strategy="only_second")
        first = tokenizer.encode(question, text)
        encodings = (first, *first.overflowing)
        return Windows(text, encodings, tuple(at * (room - overlap) for at in range(len(encodings))))

    def together(self, items: Sequence[Windows]) -> WindowTokens:
        """One batch of the windows of all items, in order. ``truncated`` is False for all windows."""
        encodings = [each for item in items for each in item.encodings]
        tokens = self.padded(encodings, [item.text for item in items])
        return WindowTokens(
            tokens.input_ids, tokens.attention_mask, np.zeros(len(encodings), bool), tokens.token_type_ids,
            tokens.encodings, tokens.texts, tuple(first for item in items for first in item.firsts),
        )  # fmt: skip
